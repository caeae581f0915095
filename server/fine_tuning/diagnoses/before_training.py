"""What can be told before the first step, from the files' counts and the resolved hyperparameters."""

from dataclasses import dataclass

from server.fine_tuning.diagnoses.finding import Diagnosis, Finding
from server.fine_tuning.hyperparameters import reference_learning_rate
from trainer.contract.spec import MethodName

LOWEST_SHARE, HIGHEST_SHARE = 0.5, 1.5  # of the reference: 1e-4 to 3e-4 around the guides' 2e-4
_USUAL_BATCH = 16
MIN_VALIDATION_EXAMPLES = 20


@dataclass(frozen=True)
class Plan:
    """A job that is about to be queued."""

    n_examples: int  # that will be trained on
    n_validation: int  # 0: no validation file
    batch_size: int
    learning_rate: float  # peak
    parameters: int | None  # of the base model; None if it does not say
    method: MethodName = "supervised"


def foresee(plan: Plan) -> list[Finding]:
    """Everything that can be told of a plan."""
    found = (_batch(plan), _learning_rate(plan), _validation(plan))
    return [finding for finding in found if finding is not None]


def learning_rate_range(parameters: int, batch_size: int, method: MethodName = "supervised") -> tuple[float, float]:
    """The usual peaks for LoRA on a base of this size, at the guides' batch of 16 and at this one."""
    references = [reference_learning_rate(parameters, size, method) for size in (_USUAL_BATCH, batch_size)]
    return LOWEST_SHARE * min(references), HIGHEST_SHARE * max(references)


def _batch(plan: Plan) -> Finding | None:
    if plan.batch_size <= plan.n_examples:
        return None
    return Finding(
        Diagnosis.BATCH_LARGER_THAN_EXAMPLES,
        f"The batch is larger than the file: batch_size is {plan.batch_size} and there are {plan.n_examples} examples, "
        "so that each epoch is a single step over all of them. Lower batch_size: a small file learns from many small "
        f'steps, not from few large ones. "auto" takes about a hundredth of the examples.',
        {"batch_size": plan.batch_size, "n_examples": plan.n_examples},
    )


def _learning_rate(plan: Plan) -> Finding | None:
    if plan.parameters is None:
        return None
    low, high = learning_rate_range(plan.parameters, min(plan.batch_size, plan.n_examples), plan.method)
    if low <= plan.learning_rate <= high:
        return None
    too_low = plan.learning_rate < low
    outcome = "little may be learnt" if too_low else "training may become unstable, and general skill may be lost"
    return Finding(
        Diagnosis.LEARNING_RATE_OUTSIDE_RANGE,
        f"The learning rate of {plan.learning_rate:.2g} is {'below' if too_low else 'above'} the usual range for LoRA "
        f"on a base model of {plan.parameters:,} parameters, {low:.2g} to {high:.2g}: {outcome}. The job goes on as "
        f"you asked. {'Raise' if too_low else 'Lower'} learning_rate_multiplier unless you have tried it before.",
        {"learning_rate": plan.learning_rate, "lowest": low, "highest": high, "base_parameters": plan.parameters},
    )


def _validation(plan: Plan) -> Finding | None:
    if not 0 < plan.n_validation < MIN_VALIDATION_EXAMPLES:
        return None
    return Finding(
        Diagnosis.VALIDATION_TOO_SMALL,
        f"The validation file has {plan.n_validation} examples that can be used. That is too few to tell a better "
        "checkpoint from a lucky one: one odd example moves the loss more than an epoch does. Hold out 10 to 20 % of "
        f"your examples, and {MIN_VALIDATION_EXAMPLES} at least; trust no small difference of the validation loss.",
        {"n_validation": plan.n_validation, "n_wanted": MIN_VALIDATION_EXAMPLES},
    )

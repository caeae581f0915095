"""The method of a spec → the trainer of a run, and what measures its validation examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import (
    ContinuedPretrainingMethod,
    DpoMethod,
    KtoMethod,
    OrpoMethod,
    SimpoMethod,
    SupervisedMethod,
    TrainingSpec,
)
from trainer.dataset import TokenizedExample, TokenizedExamples
from trainer.interruption import Interruption
from trainer.methods import dpo, kto, reference_free, supervised
from trainer.methods.answers import Answers, mismatch, mismatched
from trainer.methods.pairs import Pairs
from trainer.methods.preferring import Preferences, Preferring
from trainer.methods.stepwise import Stepwise
from trainer.ongoing import OngoingRun
from trainer.order import StepOrder
from trainer.reference import Reference, Sequences, compute_reference, find_reference
from trainer.scoring import TokenTally
from trainer.validation import Validation


@dataclass(frozen=True)
class Data:
    """What a run learns from."""

    training: TokenizedExamples
    validation: TokenizedExamples | None
    order: StepOrder
    reference: Reference | None = None  # of a method that has one


@dataclass(frozen=True)
class Training:
    trainer: Stepwise
    validation: Validation | None


def build(run: OngoingRun, tokenizer: Any, data: Data) -> Training:
    """Set up TRL to train the steps that are left."""
    match run.spec.method:
        case SupervisedMethod() | ContinuedPretrainingMethod():
            return Training(supervised.build(run, tokenizer, data.training), _supervised_validation(run, data))
        case DpoMethod() as method:
            pairs = _pairs(run, data)
            return _preferring(run, dpo.build(run, tokenizer, method, pairs), pairs, data)
        case OrpoMethod() as method:
            pairs = _pairs(run, data)
            return _preferring(run, reference_free.build_orpo(run, tokenizer, method, pairs), pairs, data)
        case SimpoMethod() as method:
            pairs = _pairs(run, data)
            return _preferring(run, reference_free.build_simpo(run, tokenizer, method, pairs), pairs, data)
        case KtoMethod() as method:
            answers = _answers(run, data)
            return _preferring(run, kto.build(run, tokenizer, method, answers), answers, data)


def with_reference(data: Data, run: RunDirectory, spec: TrainingSpec, model: Any, interruption: Interruption) -> Data:
    """Find or compute the reference, if the method has one. The model is to be what it was before the first step."""
    wanted = _wanted(data, spec)
    if not wanted:
        return data
    found = find_reference(run, spec)
    if found is None or any(len(found.get(name, ())) != n for name, (n, _) in wanted.items()):
        found = compute_reference(run, spec, model, wanted, check=interruption.check)
    return Data(data.training, data.validation, data.order, found)


def _wanted(data: Data, spec: TrainingSpec) -> Mapping[str, Sequences]:
    """What the reference is to score: for DPO both answers of each pair; for KTO also those without their prompts."""
    training, validation, order = data.training, data.validation, data.order
    wanted: dict[str, Sequences] = {}
    match spec.method:
        case DpoMethod():
            for name, examples in (("training", training), ("validation", validation)):
                if examples is not None:
                    wanted[name] = (2 * len(examples), partial(_answer, examples))
        case KtoMethod():
            wanted["training"] = (len(training), training.__getitem__)
            n_trained = order.n_epochs * order.n_examples
            wanted["mismatched"] = (n_trained, lambda at: mismatched(training, order, at))
            if validation is not None:
                wanted["validation"] = (len(validation), validation.__getitem__)
                wanted["mismatched_validation"] = (
                    len(validation),
                    lambda number: mismatch(validation, number, number - 1),
                )
    return wanted


def _answer(examples: TokenizedExamples, number: int) -> TokenizedExample:
    return examples.sequences(number // 2)[number % 2]


def _pairs(run: OngoingRun, data: Data) -> Pairs:
    reference = data.reference or {}
    by_pair = {name: values.reshape(-1, 2) for name, values in reference.items()}
    return Pairs(
        training=data.training,
        validation=data.validation,
        order=data.order,
        budget_tokens=run.spec.memory.micro_batch_tokens,
        training_reference=by_pair.get("training"),
        validation_reference=by_pair.get("validation"),
    )


def _answers(run: OngoingRun, data: Data) -> Answers:
    reference = data.reference or {}
    return Answers(
        training=data.training,
        validation=data.validation,
        order=data.order,
        budget_tokens=run.spec.memory.micro_batch_tokens,
        training_reference=reference["training"],
        mismatched_reference=reference["mismatched"],
        validation_reference=reference.get("validation"),
        mismatched_validation_reference=reference.get("mismatched_validation"),
    )


def _supervised_validation(run: OngoingRun, data: Data) -> Validation | None:
    if data.validation is None:
        return None
    examples = data.validation

    def measure(numbers: Sequence[int]) -> TokenTally:
        return supervised.measure(run, [examples[number] for number in numbers])

    return Validation(len(examples), run, measure)


def _preferring(run: OngoingRun, trainer: Preferring, preferences: Preferences, data: Data) -> Training:
    if data.validation is None:
        return Training(trainer, None)
    return Training(trainer, Validation(len(data.validation), run, partial(trainer.measure, preferences)))

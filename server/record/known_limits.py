"""What whoever uses an adapter must know of it, as sentences, from its numbers (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.record.manifest import BaseModelRecord, DataRecord, DriftRecord
from trainer.contract.reproduction import Reproduction
from trainer.contract.spec import BY_TOKENS

_TOY_PARAMETERS = 100_000_000
_FEW_EXAMPLES = 100
_MOST_WARNINGS = 20


@dataclass(frozen=True)
class Circumstances:
    """What the limits follow from. None: not known."""

    base_model: BaseModelRecord
    training: DataRecord | None
    validation: DataRecord | None
    settings: Mapping[str, Any]
    step: int
    total_steps: int | None
    is_checkpoint: bool
    data_gate: Mapping[str, Any] | None = None  # what was found in the data
    drift: DriftRecord | None = None
    served_in: str | None = None  # how the base is quantised that serves it


def known_limits(of: Circumstances) -> tuple[str, ...]:
    found = [*_of_the_base(of), *_of_the_data(of), *_of_the_gate(of.data_gate or {})]
    if of.is_checkpoint:
        planned = "" if of.total_steps is None else f" of {of.total_steps}"
        found.append(f"It is a checkpoint after step {of.step}{planned}: training went on from there.")
    method = of.settings.get("method")
    kind = method.get("type", "supervised") if isinstance(method, Mapping) else "supervised"
    if kind == "continued_pretraining":
        found.append("It was trained on plain text: nothing taught it how to answer.")
    if kind not in BY_TOKENS:
        found.append("Losses and accuracies are of choices between given answers; what it says itself was not judged.")
    else:
        found.append("Losses and accuracies count tokens; whether whole answers are right was not measured.")
    return tuple(found)


def of_the_reproduction(found: Reproduction | None) -> tuple[str, ...]:
    """What is to be known of an adapter that is not what was trained, or was not compared with that."""
    if found is None:
        return ("It was not compared with the trained model after training.",)
    if found.variant == "lora":
        return ()
    return (
        f"It was trained as a '{found.variant}' adapter and converted to this LoRA, which does nearly the same: its "
        f"logits differ by {found.on_examples.relative_error:.2g} of the adapter's effect on examples of the training "
        f"data, and by {found.on_prompts.relative_error:.2g} on prompts drawn by chance.",
    )


def _of_the_base(of: Circumstances) -> list[str]:
    base, found = of.base_model, _of_its_form(of)
    if base.parameters is not None and base.parameters < _TOY_PARAMETERS:
        found.append(
            f"The base model has {base.parameters / 1e6:.1f} million parameters: enough to try fine-tuning, "
            "too few for real work."
        )
    if base.revision is None:
        found.append("Which revision of the base model it was trained on is not known.")
    if base.license == "unknown":
        found.append("The base model's licence is not known: find it out before you pass the adapter on.")
    return found


def _of_its_form(of: Circumstances) -> list[str]:
    """Of what it was trained on, and of what serves it."""
    memory = of.settings.get("memory")
    trained = memory.get("quantization") if isinstance(memory, Mapping) else None
    if trained == of.served_in:
        alone = f"It was trained on the base model in the form {trained}, and is proven for that alone: use it there."
        return [] if trained is None else [alone]
    measured = "" if of.drift is None else f": by {of.drift.mean:.3f} nats a token, at most {of.drift.largest:.3f}"
    return [
        f"It was trained on {_form(trained)}: on {_form(of.served_in)}, which serves it, it behaves a little "
        f"differently{measured}."
    ]


def _form(quantization: str | None) -> str:
    return "the unquantised base model" if quantization is None else f"the base model in the form {quantization}"


def _of_the_data(of: Circumstances) -> list[str]:
    found = []
    for kind, data in (("training", of.training), ("validation", of.validation)):
        if data is not None and data.n_truncated:
            context = of.settings.get("context_length_tokens")
            limit = "the context" if context is None else f"the limit of {context:,} tokens"
            found.append(
                f"{data.n_truncated:,} {kind} example(s) were longer than {limit} and cut: "
                "the end of their answer was not learnt."
            )
        if data is not None and data.n_dropped:
            found.append(f"{data.n_dropped:,} {kind} example(s) were left out: nothing of them could be trained on.")
    if of.training is not None and of.training.n_examples is not None:
        few = " Few: expect it to fail on inputs unlike them." if of.training.n_examples < _FEW_EXAMPLES else ""
        found.append(f"It was trained on {of.training.n_examples:,} example(s).{few}")
    if of.validation is None:
        found.append("There was no validation file: how it does on data it has not seen was not measured.")
    return found


def _of_the_gate(report: Mapping[str, Any]) -> list[str]:
    """The warnings among the findings; they hold no text of the data."""
    findings = report.get("findings")
    found = [finding for finding in findings if isinstance(finding, Mapping)] if isinstance(findings, list) else []
    return [
        f"A check of the data warned: {finding['message']}"
        for finding in found
        if finding.get("severity") == "warning" and isinstance(finding.get("message"), str)
    ][:_MOST_WARNINGS]

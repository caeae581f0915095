"""The result of a run that trained all weights: a model of its own, saved in the base's format, reloaded and compared.

Nothing is published that does not say, once it is loaded again, what the model in training says.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from trainer import saved_model
from trainer.adapter_files import check_finite
from trainer.base_model import load_base_model
from trainer.contract.events import Note
from trainer.contract.full_model import FULL_MODEL_REPORT, WEIGHTS, FullModelReport
from trainer.contract.golden import GOLDEN_SAMPLES, TOLERANCE, GoldenSamples, build_golden_samples, gap
from trainer.contract.spec import BaseModelSource, TrainingSpec
from trainer.environment import is_local
from trainer.failures import LossNotFinite, TrainerError
from trainer.golden_samples import golden_samples_of, logits_of, sample, score
from trainer.ongoing import OngoingRun
from trainer.probes import Probes
from trainer.rounding import round_by_chance
from trainer.weights import all_weights

_ONE_FILE = "100TB"  # its hash is the model's


def load_to_train(spec: TrainingSpec, device: str) -> Any:
    """The model to train: the base, or the one that training goes on from."""
    source = spec.base_model if spec.start_from is None else BaseModelSource(source=str(spec.start_from))
    torch.manual_seed(spec.seed)
    return load_base_model(source, device, is_trained=True)


class FullPublication:
    """Writes the run's result; checkpoints are for the run alone."""

    def __init__(self, run: OngoingRun, probes: Probes) -> None:
        self._run = run
        self._probes = probes

    def of_checkpoint(self, directory: Path) -> None:
        """Nothing: a model for every epoch would take as much disk as its base each time."""

    def of_result(self, directory: Path, *, step: int) -> None:
        """Fill the directory with the model, which is of that step.

        Its gradients are let go: the saved model takes their place in memory.

        Raises:
            LossNotFinite: a number in it is not finite.
            TrainerError: the saved model is not the trained one.
        """
        spec, model = self._run.spec, self._run.state.model
        check_finite(all_weights(model), step=step)
        model.zero_grad(set_to_none=True)
        model.eval()
        saved_type = saved_model.stored_type(spec.base_model)
        _save(model, directory, spec.base_model, saved_type)
        report, samples = _compare(directory, spec, model, self._probes, saved_type, step)
        for name, record in ((GOLDEN_SAMPLES, samples), (FULL_MODEL_REPORT, report)):
            (directory / name).write_text(record.model_dump_json(indent=1) + "\n")
        self._run.reporter.report(
            Note,
            level="info",
            message=(
                f"Saved in {report.dtype} and reloaded, the model's log-probabilities are {report.logprob_gap:.2g} "
                f"nats a token away from those in training; {TOLERANCE} is allowed"
            ),
        )


def _save(model: Any, directory: Path, source: BaseModelSource, saved_type: torch.dtype) -> None:
    """Weights, the base's own configurations, its tokenizer and its chat template."""
    where: dict[str, Any] = {"revision": source.revision, "local_files_only": is_local(source)}
    config = AutoConfig.from_pretrained(source.source, **where)  # TRL has set tokens in the model's
    config.dtype = saved_type
    model.generation_config = _generation_config(source, where)
    rounded = {name: round_by_chance(tensor, saved_type, name=name) for name, tensor in all_weights(model).items()}
    model.save_pretrained(directory, state_dict=rounded, max_shard_size=_ONE_FILE)
    config.save_pretrained(directory)
    if not (directory / WEIGHTS).is_file():
        raise TrainerError("The trained model could not be saved as one file of weights.")
    saved_model.save_tokenizer(directory, source)


def _generation_config(source: BaseModelSource, where: dict[str, Any]) -> Any:
    try:
        return GenerationConfig.from_pretrained(source.source, **where)
    except OSError:  # it has none
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(source.source, **where))


def _compare(
    directory: Path, spec: TrainingSpec, model: Any, probes: Probes, saved_type: torch.dtype, step: int
) -> tuple[FullModelReport, GoldenSamples]:
    """Load what was saved, as an engine will, and hold it against the model in training; then against the base.

    Raises:
        TrainerError: a weight is not what was trained, rounded once; or the rounding is too much.
        LossNotFinite: a number is not finite.
    """
    reloaded = load_base_model(BaseModelSource(source=str(directory)), model.device.type).eval()
    _check_same(reloaded, model, saved_type)
    tokens_SL, n_sampled = sample(reloaded, probes.prompts), probes.prompts.n_sampled
    compared = [tokens_SL, *probes.compared]
    of_saved = [logits_of(reloaded, tokens) for tokens in compared]
    dtype = str(reloaded.dtype).removeprefix("torch.")
    del reloaded  # there is room for one model beside the trained one
    of_trained = [logits_of(model, tokens) for tokens in compared]
    of_base = logits_of(load_base_model(spec.base_model, model.device.type).eval(), tokens_SL)
    if not all(bool(torch.isfinite(logits).all()) for logits in (*of_saved, *of_trained)):
        raise LossNotFinite("output of the model", step)
    saved, trained, base = (score(logits, tokens_SL, n_sampled) for logits in (of_saved[0], of_trained[0], of_base))
    report = FullModelReport(
        dtype=_name(saved_type),
        parameters=sum(tensor.numel() for tensor in all_weights(model).values()),
        n_probe_tokens=sum(tokens.numel() for tokens in compared),
        logit_error=max(map(saved_model.largest_difference, of_saved, of_trained)),
        same_choice=_mean(map(saved_model.share_of_same_choice, of_saved, of_trained)),
        logprob_gap=gap(trained, saved),
    )
    _check_kept(report)
    return report, build_golden_samples(golden_samples_of(tokens_SL, n_sampled, saved, base), dtype=dtype)


def _check_same(reloaded: Any, model: Any, saved_type: torch.dtype) -> None:
    found, wanted = all_weights(reloaded), all_weights(model)
    rounded = ((name, round_by_chance(tensor, saved_type, name=name)) for name, tensor in wanted.items())
    same = (torch.equal(found[name], tensor.to(found[name].dtype)) for name, tensor in rounded)
    if found.keys() != wanted.keys() or not all(same):
        raise TrainerError("The trained model was not saved as it is. Ask the operator to look at the disk.")


def _check_kept(report: FullModelReport) -> None:
    if report.logprob_gap > TOLERANCE:
        raise TrainerError(
            f"The trained model, saved as {report.dtype}, is {report.logprob_gap:.3f} nats a token from what it was in "
            f"training, and {TOLERANCE} is allowed: its weights do not survive the rounding. Train a LoRA instead, or "
            "use a base model that is stored in a wider format."
        )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

"""The result of a run that trained all weights: a model of its own, saved in the base's format, reloaded and compared.

Nothing is published that does not say, once it is loaded again, what the model in training says.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from trainer import saved_model
from trainer.base_model import load_base_model
from trainer.checkpoints import publish, write_samples
from trainer.contract.full_model import FULL_MODEL_REPORT, WEIGHTS, FullModelReport
from trainer.contract.golden import TOLERANCE, GoldenSamples, gap
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, TrainingSpec
from trainer.environment import is_local
from trainer.failures import TrainerError
from trainer.golden_samples import build_samples, draw, score, type_of
from trainer.weights import check_finite, trained_weights

_ONE_FILE = "100TB"  # its hash is the model's


def load_to_train(spec: TrainingSpec, device: str) -> Any:
    """The model to train: the base, or the one that training goes on from."""
    source = spec.base_model if spec.start_from is None else BaseModelSource(source=str(spec.start_from))
    torch.manual_seed(spec.seed)
    return load_base_model(source, device, is_trained=True)


def publish_full_model(run: RunDirectory, spec: TrainingSpec, model: Any, tokenizer: Any, *, step: int) -> None:
    """Write the result of the run. Its gradients are let go: the saved model takes their place in memory.

    Raises:
        LossNotFinite: a number in it is not finite; nothing is published.
        TrainerError: the saved model is not the trained one; likewise.
    """
    check_finite(trained_weights(model), "model", step=step)
    model.zero_grad(set_to_none=True)
    model.eval()

    def fill(staged: Path) -> None:
        saved_type = saved_model.stored_type(spec.base_model)
        _save(model, staged, spec.base_model, saved_type)
        report, samples = _compare(staged, spec, model, tokenizer, saved_type, step)
        write_samples(staged, samples)
        (staged / FULL_MODEL_REPORT).write_text(report.model_dump_json(indent=1) + "\n")

    publish(run.model, fill)


def _save(model: Any, directory: Path, source: BaseModelSource, saved_type: torch.dtype) -> None:
    """Weights, the base's own configurations, its tokenizer and its chat template."""
    where: dict[str, Any] = {"revision": source.revision, "local_files_only": is_local(source)}
    config = AutoConfig.from_pretrained(source.source, **where)  # TRL has set tokens in the model's
    config.dtype = saved_type
    model.generation_config = _generation_config(source, where)
    rounded = {name: tensor.to(saved_type) for name, tensor in trained_weights(model).items()}
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
    directory: Path, spec: TrainingSpec, model: Any, tokenizer: Any, saved_type: torch.dtype, step: int
) -> tuple[FullModelReport, GoldenSamples]:
    """Load what was saved, as an engine will, and hold it against the model in training; then against the base.

    Raises:
        TrainerError: a weight is not what was trained, rounded once; or the rounding is too much.
    """
    probes_BL = saved_model.build_probes(model)
    trained_BLV = saved_model.logits(model, probes_BL)
    reloaded = load_base_model(BaseModelSource(source=str(directory)), model.device.type).eval()
    _check_same(reloaded, model, saved_type)
    reloaded_BLV = saved_model.logits(reloaded, probes_BL)
    drawn = draw(reloaded, tokenizer, spec)
    dtype = type_of(reloaded)
    del reloaded  # there is room for one model beside the trained one
    training_gap = gap(score(model, drawn), drawn.logprobs)
    _check_kept(training_gap, saved_type)
    of_base = score(load_base_model(spec.base_model, model.device.type).eval(), drawn)
    report = FullModelReport(
        dtype=_name(saved_type),
        parameters=sum(tensor.numel() for tensor in trained_weights(model).values()),
        n_probe_tokens=probes_BL.numel(),
        logit_error=saved_model.largest_difference(reloaded_BLV, trained_BLV),
        same_choice=saved_model.share_of_same_choice(reloaded_BLV, trained_BLV),
        logprob_gap=training_gap,
    )
    return report, build_samples(drawn, of_base, dtype=dtype, step=step)


def _check_same(reloaded: Any, model: Any, saved_type: torch.dtype) -> None:
    found, wanted = trained_weights(reloaded), trained_weights(model)
    same = (torch.equal(found[name], tensor.to(saved_type).to(found[name].dtype)) for name, tensor in wanted.items())
    if found.keys() != wanted.keys() or not all(same):
        raise TrainerError("The trained model was not saved as it is. Ask the operator to look at the disk.")


def _check_kept(training_gap: float, saved_type: torch.dtype) -> None:
    if not training_gap <= TOLERANCE:  # also where it is not a number
        raise TrainerError(
            f"The trained model, saved as {_name(saved_type)}, is {training_gap:.3f} nats a token from what it was in "
            f"training, and {TOLERANCE} is allowed: its weights do not survive the rounding. Train a LoRA instead, or "
            "use a base model that is stored in a wider format."
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

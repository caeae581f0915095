"""One run, from top to bottom."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from trainer.base_model import attach_lora, load_base_model
from trainer.callbacks import StepCallback
from trainer.checkpoints import publish_adapter, resume, return_to_best, start_from
from trainer.choosing_again import ensure_chosen
from trainer.contract.events import Note, Started, Succeeded
from trainer.contract.golden import GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import TrainingSpec
from trainer.dataset import tokenize_files
from trainer.failures import is_out_of_memory
from trainer.full_model import load_to_train, publish_full_model
from trainer.golden_samples import take_golden_samples
from trainer.interruption import Interruption, StopRequested
from trainer.measuring import Meter
from trainer.methods import supervised
from trainer.ongoing import OngoingRun
from trainer.optimizer import build_optimizer
from trainer.order import StepOrder
from trainer.packing import keeps_apart
from trainer.reporter import Reporter
from trainer.state import TrainingState
from trainer.tokenizer import load_chat_tokenizer
from trainer.validation import Validation


def run(directory: RunDirectory, spec: TrainingSpec, reporter: Reporter, interruption: Interruption) -> None:
    """Train as the spec says; the last event is `Succeeded`.

    Raises:
        StopRequested: the run was asked to stop; what is done is saved.
        Exception: the run failed; `failures.describe` puts it into words.
    """
    torch.set_num_threads(spec.threads)
    chat = load_chat_tokenizer(spec.base_model)
    ensure_chosen(directory, spec, chat)
    training, validating = tokenize_files(
        directory,
        chat,
        context_length_tokens=spec.context_length_tokens,
        redacts=spec.pii == "redact",
        selection=spec.selection,
    )
    order = StepOrder(len(training), spec.method.batch_size, spec.method.n_epochs, spec.seed)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(spec, device)
    state = TrainingState(model, *build_optimizer(model, spec.method, order.total_steps))
    state.keeps_best = spec.method.early_stopping_patience is not None
    packs = spec.packing and keeps_apart(model, training)
    if spec.resume_from is not None:
        resume(spec.resume_from, state)
    elif spec.start_from is not None and spec.lora is not None:
        start_from(spec.start_from, model)

    ongoing = OngoingRun(directory, spec, reporter, interruption, order, state, Meter(model), packs)
    validation = Validation(validating, ongoing) if validating else None
    ongoing.meter.begin()
    reporter.report(Started, total_steps=order.total_steps, n_examples=len(training), first_step=state.step + 1)
    if spec.packing and not packs and spec.resume_from is None:
        message = "Examples are not packed into rows: a layer of this base model would mix them. It only takes longer."
        reporter.report(Note, level="info", message=message)
    with interruption.deferred():
        if ongoing.steps_left:
            train(ongoing, supervised.build(ongoing, chat.tokenizer, training), validation)
        step = return_to_best(state)
        result = publish_result(ongoing, chat.tokenizer, step)
        reporter.report(
            Succeeded,
            step=state.step,
            trained_tokens=state.trained_tokens,
            adapter=result.name,
            measured=ongoing.meter.read(),
            best=None if state.best_weights is None else state.best,
            stopped_early=state.step < order.total_steps,
        )
        interruption.ignore()


def load_model(spec: TrainingSpec, device: str) -> Any:
    """The model with all that is to be trained, as it is before training."""
    if spec.lora is None:
        return load_to_train(spec, device)
    base = load_base_model(spec.base_model, device, quantization=spec.memory.quantization)
    return attach_lora(base, spec.lora, spec.seed)


def publish_result(ongoing: OngoingRun, tokenizer: Any, step: int) -> Path:
    """The directory of what was trained, which is of that step."""
    run, spec, model = ongoing.directory, ongoing.spec, ongoing.state.model
    if spec.lora is None:
        publish_full_model(run, spec, model, tokenizer, step=step)
        return run.model
    publish_adapter(run, model, step=step, take=partial(_take_samples, ongoing, tokenizer, step))
    return run.adapter


def _take_samples(ongoing: OngoingRun, tokenizer: Any, step: int) -> GoldenSamples | None:
    """None, and a note, where memory does not hold a second base beside the one that was trained on."""
    try:
        samples = take_golden_samples(ongoing.state.model, tokenizer, ongoing.spec, step=step)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = "No golden samples were taken: memory does not hold the base that serves beside the one in training."
        ongoing.reporter.report(Note, level="warn", message=message)
        return None
    if samples.drift is not None:
        level: Literal["info", "warn"] = "warn" if samples.drift.is_large else "info"
        ongoing.reporter.report(Note, level=level, message=samples.drift.describe())
    return samples


def train(ongoing: OngoingRun, trainer: supervised.StepwiseSFTTrainer, validation: Validation | None) -> None:
    """Do the steps that are left; if asked to stop, save the last one that is done."""
    callback = StepCallback(ongoing, validation)
    trainer.add_callback(callback)
    try:
        trainer.train()
    except StopRequested:
        callback.save()
        raise StopRequested(ongoing.state.step) from None

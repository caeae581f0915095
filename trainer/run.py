"""One run, from top to bottom."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from trainer import pissa
from trainer.adapter import attach_lora
from trainer.base_model import load_base_model
from trainer.callbacks import StepCallback
from trainer.checkpoints import find_beginning, publish_result, resume, return_to_best, start_from
from trainer.choosing_again import ensure_chosen
from trainer.contract.events import Note, Started, Succeeded
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BY_TOKENS, TrainingSpec
from trainer.dataset import tokenize_files
from trainer.experts import ATTENTION_ONLY, leaves_experts_alone
from trainer.full_model import FullPublication, load_to_train
from trainer.interruption import Interruption, StopRequested
from trainer.measuring import Meter
from trainer.methods.choose import Data, Training, build, with_reference
from trainer.ongoing import OngoingRun
from trainer.optimizer import build_optimizer
from trainer.order import StepOrder
from trainer.packing import keeps_apart
from trainer.probes import build_probes
from trainer.proving import Prover
from trainer.publication import Publication
from trainer.reporter import Reporter
from trainer.state import TrainingState
from trainer.tokenizer import load_chat_tokenizer


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
        method=spec.method.type,
        context_length_tokens=spec.context_length_tokens,
        redacts=spec.pii == "redact",
        selection=spec.selection,
    )
    order = StepOrder(len(training), spec.method.batch_size, spec.method.n_epochs, spec.seed)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, beginning = load_model(spec, device)
    if spec.start_from is not None and spec.lora is not None:
        start_from(spec.start_from, model)
    state = TrainingState(model, *build_optimizer(model, spec.method, order.total_steps))
    state.is_plain, state.beginning = spec.lora is not None and spec.lora.variant == "lora", beginning
    state.keeps_best = spec.method.early_stopping_patience is not None
    wants_packing = spec.packing and spec.method.type in BY_TOKENS
    packs = wants_packing and keeps_apart(model, training)
    data = with_reference(Data(training, validating, order), directory, spec, model, interruption)
    if spec.resume_from is not None:
        resume(spec.resume_from, state)

    ongoing = OngoingRun(directory, spec, reporter, interruption, order, state, Meter(model), packs)
    probes = build_probes(chat.tokenizer, training, context_length_tokens=spec.context_length_tokens)
    publication = FullPublication(ongoing, probes) if spec.lora is None else Publication(ongoing, Prover(spec, probes))
    ongoing.meter.begin()
    reporter.report(Started, total_steps=order.total_steps, n_examples=len(training), first_step=state.step + 1)
    if leaves_experts_alone(model) and spec.resume_from is None:
        reporter.report(Note, level="warn", message=ATTENTION_ONLY)
    if wants_packing and not packs and spec.resume_from is None:
        message = "Examples are not packed into rows: a layer of this base model would mix them. It only takes longer."
        reporter.report(Note, level="info", message=message)
    with interruption.deferred():
        if ongoing.steps_left or state.unreported is not None:
            train(ongoing, build(ongoing, chat.tokenizer, data), publication)
        measured = ongoing.meter.read()
        step = return_to_best(state)
        result = publish_result(directory, partial(publication.of_result, step=step), is_full=spec.lora is None)
        reporter.report(
            Succeeded,
            step=state.step,
            trained_tokens=state.trained_tokens,
            adapter=result.name,
            measured=measured,
            best=None if state.best_weights is None else state.best,
            stopped_early=state.step < order.total_steps,
        )
        interruption.ignore()


def load_model(spec: TrainingSpec, device: str) -> tuple[Any, dict[str, Tensor] | None]:
    """The model with all that is to be trained, and what PiSSA took out of the base for it."""
    if spec.lora is None:
        return load_to_train(spec, device), None
    base = load_base_model(spec.base_model, device, quantization=spec.memory.quantization)
    model = attach_lora(base, spec.lora, spec.seed)
    if spec.lora.variant != "pissa":
        return model, None
    return model, pissa.take_out(model, None if spec.resume_from is None else find_beginning(spec.resume_from))


def train(ongoing: OngoingRun, training: Training, publication: Publication | FullPublication) -> None:
    """Do what is left; if asked to stop, save the last step that is done."""
    callback = StepCallback(ongoing, training.validation, publication)
    training.trainer.add_callback(callback)
    try:
        callback.finish_step()
        if ongoing.steps_left:  # patience may be over by what was just measured
            training.trainer.train()
    except StopRequested:
        callback.save()
        raise StopRequested(ongoing.state.step) from None

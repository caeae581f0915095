"""One run, from top to bottom."""

import torch

from trainer.base_model import attach_lora, load_base_model
from trainer.callbacks import StepCallback
from trainer.checkpoints import publish_adapter, resume
from trainer.contract.events import Started, Succeeded
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import TrainingSpec
from trainer.dataset import tokenize_training_file, tokenize_validation_file
from trainer.interruption import Interruption, StopRequested
from trainer.methods import supervised
from trainer.order import StepOrder
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
    method, limit = spec.method, spec.context_length_tokens
    chat = load_chat_tokenizer(spec.base_model)
    examples = tokenize_training_file(directory.training_file, chat, context_length_tokens=limit).examples
    order = StepOrder(len(examples), method.batch_size, method.n_epochs, spec.seed)
    validation = None
    if directory.validation_file.exists():
        validation = Validation(
            tokenize_validation_file(directory.validation_file, chat, context_length_tokens=limit).examples,
            batch_size=method.batch_size,
            total_steps=order.total_steps,
            interruption=interruption,
        )

    base = load_base_model(spec.base_model, "cuda" if torch.cuda.is_available() else "cpu")
    model = attach_lora(base, spec.lora, spec.seed)
    state = TrainingState(model, *supervised.build_optimizer(model, method, order.total_steps))
    if spec.resume_from is not None:
        resume(spec.resume_from, state)

    reporter.report(Started, total_steps=order.total_steps, n_examples=len(examples), first_step=state.step + 1)
    callback = StepCallback(
        run=directory,
        reporter=reporter,
        interruption=interruption,
        order=order,
        state=state,
        validation=validation,
        checkpoint_every_steps=spec.checkpoint_every_steps,
    )
    if state.step < order.total_steps:
        trainer = supervised.build(
            spec=spec,
            tokenizer=chat.tokenizer,
            examples=examples,
            order=order,
            state=state,
            callback=callback,
            interruption=interruption,
            output_directory=str(directory.root),
        )
        with interruption.deferred():
            try:
                trainer.train()
            except StopRequested:
                callback.save()
                raise StopRequested(state.step) from None

    interruption.ignore()
    publish_adapter(directory, state)
    reporter.report(
        Succeeded,
        step=state.step,
        trained_tokens=state.trained_tokens,
        adapter=str(directory.adapter.relative_to(directory.root)),
    )

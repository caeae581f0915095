"""The same training by TRL alone: its own trainer, its own batches and its own tokenising."""

from pathlib import Path
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

Logs = list[dict[str, float]]  # one a step


def train_plainly(run: RunDirectory, output: Path) -> Logs:
    """The first epoch of a run: what TRL says of each step. Of all weights, its reference is a second model."""
    from transformers import PrinterCallback, TrainerCallback

    from trainer.dataset import tokenize_files
    from trainer.optimizer import build_optimizer
    from trainer.order import StepOrder
    from trainer.tokenizer import load_chat_tokenizer

    spec = run.read_spec()
    chat = load_chat_tokenizer(spec.base_model)
    examples, _ = tokenize_files(run, chat, method=spec.method.type, context_length_tokens=spec.context_length_tokens)
    order = StepOrder(len(examples), spec.method.batch_size, spec.method.n_epochs, spec.seed)
    model = _model(spec)
    numbers = [number for step in range(1, order.steps_per_epoch + 1) for number in order.examples_of(step)]
    arguments = {
        "output_dir": str(output),
        "max_steps": order.steps_per_epoch,
        "per_device_train_batch_size": spec.method.batch_size,
        "train_sampling_strategy": "sequential",
        "max_grad_norm": spec.method.max_grad_norm,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_length": spec.context_length_tokens,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    kind, config, rows = _of_method(spec.method, arguments, examples, numbers, chat.tokenizer)
    logs: Logs = []

    class Listener(TrainerCallback):  # type: ignore[misc]
        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "grad_norm" in logs:
                kept.append(dict(logs))

    kept = logs
    from datasets import Dataset

    trainer = kind(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=chat.tokenizer,
        optimizers=build_optimizer(model, spec.method, order.total_steps),
        callbacks=[Listener()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return logs


def _model(spec: TrainingSpec) -> Any:
    from trainer.adapter import attach_lora
    from trainer.base_model import load_base_model
    from trainer.checkpoints import start_from
    from trainer.full_model import load_to_train

    if spec.lora is None:
        return load_to_train(spec, "cpu")
    base = load_base_model(spec.base_model, "cpu", quantization=spec.memory.quantization)
    model = attach_lora(base, spec.lora, spec.seed)
    if spec.start_from is not None:
        start_from(spec.start_from, model)
    return model


def _of_method(
    method: Any, arguments: dict[str, Any], examples: TokenizedExamples, numbers: list[int], tokenizer: Any
) -> tuple[Any, Any, list[dict[str, Any]]]:
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    if isinstance(method, SupervisedMethod | ContinuedPretrainingMethod):
        rows = [_labelled(examples[number]) for number in numbers]
        return SFTTrainer, SFTConfig(**arguments), rows
    if isinstance(method, KtoMethod):
        weights = {"desirable_weight": method.desirable_weight, "undesirable_weight": method.undesirable_weight}
        answers = [_answer(examples[number], tokenizer) for number in numbers]
        return KTOTrainer, KTOConfig(**arguments, beta=method.beta, **weights), answers
    pairs = [_pair(examples, number, tokenizer) for number in numbers]
    match method:
        case DpoMethod():
            return DPOTrainer, DPOConfig(**arguments, beta=method.beta), pairs
        case OrpoMethod():
            return ORPOTrainer, ORPOConfig(**arguments, beta=method.beta), pairs
        case SimpoMethod():
            simpo = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": method.beta, "simpo_gamma": method.gamma}
            return CPOTrainer, CPOConfig(**arguments, **simpo), pairs
    raise ValueError(f"{method.type} is not a method of preferences")


def _labelled(sequence: TokenizedExample) -> dict[str, Any]:
    ids = sequence.input_ids_L.tolist()
    labels = [token if is_trained else -100 for token, is_trained in zip(ids, sequence.trained_L, strict=True)]
    return {"input_ids": ids, "labels": labels}


def _pair(examples: TokenizedExamples, number: int, tokenizer: Any) -> dict[str, Any]:
    (prompt, chosen), (_, rejected) = (_texts(sequence, tokenizer) for sequence in examples.sequences(number))
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _answer(sequence: TokenizedExample, tokenizer: Any) -> dict[str, Any]:
    prompt, completion = _texts(sequence, tokenizer)
    return {"prompt": prompt, "completion": completion, "label": sequence.is_desirable}


def _texts(sequence: TokenizedExample, tokenizer: Any) -> tuple[str, str]:
    """The prompt, and what is trained on."""
    start = int(sequence.trained_L.argmax())
    ids = sequence.input_ids_L.tolist()
    return tokenizer.decode(ids[:start]), tokenizer.decode(ids[start:])

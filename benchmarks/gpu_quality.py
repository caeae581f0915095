"""What a base in 4 bits costs: the demo model learns the quick start's task on both, and is asked what it never saw.

`python -m benchmarks.gpu_quality BASE ADAPTER QUESTIONS` asks, in a process of its own, and prints the share of answers
that are right to the letter, as an engine would give them: with the adapter on the base in 16 bits.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.gpu_bases import DEMO
from benchmarks.gpu_runs import RANK, ROOT, Size, spec_of, train
from server.fine_tuning.estimates.memory import Device
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, LoraSettings, MemoryPlan, Quantization, SupervisedMethod

sys.path.insert(0, str(ROOT / "examples"))  # the quick start's task
_ANSWER_TOKENS = 24
_ASK_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Quality:
    held_out_loss: float  # nats a token, on the base that was trained on
    exact_match: float  # share of held-out questions


@dataclass(frozen=True)
class Amount:
    n_training: int
    n_held_out: int
    n_epochs: int


FULL_AMOUNT = Amount(n_training=500, n_held_out=120, n_epochs=4)
TINY_AMOUNT = Amount(n_training=60, n_held_out=20, n_epochs=1)


def write_task(directory: Path, amount: Amount) -> None:
    from support_desk_task import build_task, training_file

    task = build_task(1)
    directory.mkdir()
    data, held_out = RunDirectory(directory), task.held_out[: amount.n_held_out]
    data.training_file.write_bytes(training_file(task.training[: amount.n_training]))
    data.validation_file.write_bytes(training_file(held_out))
    questions = [{"prompt": question.prompt(), "answer": question.answer} for question in held_out]
    (directory / "questions.json").write_text(json.dumps(questions))


def measure(
    root: Path, data: Path, amount: Amount, *, device: Device, quantization: Quantization | None
) -> dict[str, float]:
    """Train, and ask."""
    plan = MemoryPlan(micro_batch_tokens=2048, gradient_checkpointing=False, quantization=quantization)
    size = Size(context_tokens=1024, words=0, batch_size=8, n_steps=0)
    method = SupervisedMethod(
        n_epochs=amount.n_epochs,
        batch_size=size.batch_size,
        learning_rate=2e-3,
        warmup_ratio=0.05,
        weight_decay=0.01,
        max_grad_norm=1.0,
    )
    lora = LoraSettings(rank=RANK, alpha=2 * RANK, dropout=0.0, target_modules="all-linear")
    run = RunDirectory(root)
    ended = train(run, spec_of(DEMO, size, plan, device, method=method, lora=lora), data)
    loss = ended.steps[-1].metrics.full_valid_loss
    if loss is None:
        raise RuntimeError("the run was not validated")
    command = [sys.executable, "-m", "benchmarks.gpu_quality", str(DEMO), str(run.adapter)]
    command.append(str(data / "questions.json"))
    asked = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S)
    return asdict(Quality(loss, float(asked.stdout.split()[-1])))


def ask(base: Path, adapter: Path, questions: Path) -> float:
    import torch
    from peft import PeftModel

    from trainer.base_model import load_base_model
    from trainer.tokenizer import load_chat_tokenizer

    source = BaseModelSource(source=str(base))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = load_chat_tokenizer(source).tokenizer
    model = PeftModel.from_pretrained(load_base_model(source, device), adapter, autocast_adapter_dtype=False).eval()
    asked = json.loads(questions.read_text())
    n_right = 0
    for question in asked:
        prompt = tokenizer.apply_chat_template(
            question["prompt"], add_generation_prompt=True, return_dict=True, return_tensors="pt"
        ).to(device)
        said = model.generate(**prompt, max_new_tokens=_ANSWER_TOKENS, do_sample=False)
        answer = tokenizer.decode(said[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
        n_right += answer == question["answer"]
    return n_right / len(asked)


if __name__ == "__main__":
    print(ask(*map(Path, sys.argv[1:])))

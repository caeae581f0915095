"""Preferences that a tiny model can learn, and runs that train on them; and such runs by the methods without."""

from pathlib import Path
from typing import Any

from trainer_runs import assistant, example, make_spec, user, write_lines

from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import (
    ContinuedPretrainingMethod,
    DpoMethod,
    KtoMethod,
    LoraSettings,
    MemoryPlan,
    Method,
    MethodName,
    OrpoMethod,
    SimpoMethod,
    SupervisedMethod,
    TrainingSpec,
)

N_EXAMPLES, N_VALIDATION, BATCH, EPOCHS = 24, 10, 6, 2
_STEPS: dict[str, Any] = {
    "n_epochs": EPOCHS,
    "batch_size": BATCH,
    "learning_rate": 5e-3,
    "warmup_ratio": 0.05,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
}
METHODS: dict[MethodName, Method] = {
    "supervised": SupervisedMethod(**_STEPS),
    "dpo": DpoMethod(**_STEPS, beta=0.5),
    "orpo": OrpoMethod(**_STEPS, beta=0.5),
    "kto": KtoMethod(**_STEPS, beta=0.5, desirable_weight=1.5, undesirable_weight=1.0),
    "simpo": SimpoMethod(**_STEPS, beta=2.0, gamma=0.5),
}
ALL_METHODS: dict[MethodName, Method] = {**METHODS, "continued_pretraining": ContinuedPretrainingMethod(**_STEPS)}
UNEVEN = MemoryPlan(micro_batch_tokens=160, gradient_checkpointing=False, quantization=None)  # several in a step


def pair(index: int) -> dict[str, Any]:
    """Pairs of many lengths, in OpenAI's spelling."""
    asked = f"what is {'the answer to ' * (index % 4)}{index}"
    return {
        "input": {"messages": [user(asked)]},
        "preferred_output": [assistant(f"the answer is {index * 7}")],
        "non_preferred_output": [assistant(f"system user {index * 3}{' that' * (index % 3)}")],
    }


def judged(index: int) -> dict[str, Any]:
    """Two desirable answers for each one that is not."""
    of = pair(index)
    is_good = index % 3 != 0
    answer = of["preferred_output" if is_good else "non_preferred_output"]
    return {"prompt": of["input"]["messages"], "completion": answer, "label": is_good}


def text(index: int) -> dict[str, Any]:
    return {"text": f"what is {'the answer to ' * (index % 4)}{index}? the answer is {index * 7}"}


def preference_spec(base: Path, method: MethodName, /, **overrides: Any) -> TrainingSpec:
    lora = LoraSettings(rank=4, alpha=8, dropout=0.0, target_modules="all-linear")
    values = {"method": ALL_METHODS[method], "lora": lora, "memory": UNEVEN} | overrides
    return make_spec(base).model_copy(update=values)


def make_preference_run(root: Path, spec: TrainingSpec) -> RunDirectory:
    root.mkdir(parents=True)
    run = RunDirectory(root)
    lines = {"supervised": example, "kto": judged, "continued_pretraining": text}
    line = lines.get(spec.method.type, pair)
    write_lines(run.training_file, (line(index) for index in range(N_EXAMPLES)))
    write_lines(run.validation_file, (line(1000 + index) for index in range(N_VALIDATION)))
    run.write_spec(spec)
    return run

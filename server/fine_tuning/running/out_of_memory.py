"""After memory ran out: the next plan, or why there is none (pure)."""

from dataclasses import dataclass

from server.fine_tuning.estimates.planned import Planned
from server.fine_tuning.estimates.planner import leaner_plan
from server.fine_tuning.lifecycle import Fail, NewEvent
from server.vocabulary import EventLevel, JobErrorCode
from trainer.contract.spec import MemoryPlan


@dataclass(frozen=True)
class TryLeaner:
    planned: Planned
    event: NewEvent


def after_out_of_memory(planned: Planned, *, batch_size: int, rank: int | None, allow_4bit: bool) -> TryLeaner | Fail:
    """Say how the job goes on in a fresh process, with the same examples in a step; or that it cannot."""
    plan = leaner_plan(
        planned.memory, longest_tokens=planned.longest_tokens, batch_size=batch_size, allow_4bit=allow_4bit
    )
    if plan is None:
        return Fail(JobErrorCode.OUT_OF_MEMORY, _advice(planned, rank))
    message = f"Memory ran out. The job goes on from its last checkpoint {_change(planned.memory, plan)}."
    return TryLeaner(planned.model_copy(update={"memory": plan}), NewEvent(message, EventLevel.WARN))


def _change(before: MemoryPlan, after: MemoryPlan) -> str:
    if after.quantization != before.quantization:
        return "with the base model in 4 bits"
    if after.gradient_checkpointing != before.gradient_checkpointing:
        return "with gradient checkpointing"
    return f"with micro-batches of at most {after.micro_batch_tokens} tokens; batch_size stays the same"


def _advice(planned: Planned, rank: int | None) -> str:
    tried = f"one example of up to {planned.longest_tokens} tokens at a time, gradient checkpointing"
    tried += {None: "", "nf4": ", the base in 4 bits", "int8": ", the base in 8 bits"}[planned.memory.quantization]
    expected = f", where {planned.needed_bytes / 1e9:.1f} GB were expected to do" if planned.needed_bytes else ""
    instead = "adapter type 'lora'" if rank is None else f"a LoRA rank lower than {rank}"
    remedies = ["shorter examples", instead, "a smaller base model"]
    if rank is not None and planned.memory.quantization != "nf4":
        remedies.append("quantization 'nf4'")
    return (
        f"The trainer ran out of memory with the leanest way to train ({tried}){expected}. "
        f"What helps: {', '.join(remedies[:-1])} or {remedies[-1]}."
    )

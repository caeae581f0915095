"""Golden samples asked of an engine: an adapter says there what it said when it was trained, or it is not admitted.

docs/decisions/0023-proof-at-every-load.md has the reasons.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from inference.engine import AdapterRef, AdapterRejected, Score
from inference.examination import Examination, Proof
from server.record.imported import AdapterManifest, read_adapter_manifest
from server.record.manifest import MANIFEST
from trainer.contract.golden import GOLDEN_SAMPLES, Comparison, GoldenSamples, Verdict, compare

_LOG = logging.getLogger(__name__)
_MOST_BYTES = 1024 * 1024  # ours have a hundredth of it


@dataclass(frozen=True)
class GoldenExaminer:
    """An `Examiner`."""

    served_in: str | None = None  # how the engine quantises the base; None: it does not

    async def examine(self, adapter: AdapterRef, score: Score) -> Examination:
        golden = await asyncio.to_thread(_read, adapter.directory)
        proven_on = await asyncio.to_thread(_form_of, adapter.directory, golden)
        if proven_on != self.served_in:
            raise AdapterRejected(_describe_forms(proven_on, self.served_in))
        if golden is None:
            return Examination(Proof.NONE)
        texts = [[*sample.prompt_token_ids, *sample.sampled_token_ids] for sample in golden.samples]
        scored = await score(texts)
        measured = [row[-len(s.sampled_token_ids) :] for row, s in zip(scored, golden.samples, strict=True)]
        comparison = compare(golden, measured)
        proof = judge(golden, comparison)
        if proof is None:
            _LOG.warning(
                "%s, sampled in %s: %.4f nats a token from its samples, %.4f from the base alone, tolerance %g",
                adapter.name,
                golden.dtype,
                comparison.adapter_gap,
                comparison.base_gap,
                golden.tolerance,
            )
            raise AdapterRejected(_describe(comparison, is_full=adapter.is_full))
        return Examination(proof, comparison.adapter_gap, comparison.base_gap)


def judge(golden: GoldenSamples, comparison: Comparison) -> Proof | None:
    """None: it is not to be served. What the base says nearly as well proves an adapter only if it is like that."""
    match comparison.verdict:
        case Verdict.REPRODUCED:
            return Proof.REPRODUCED
        case Verdict.UNDECIDED if not golden.is_distinct:
            return Proof.UNDECIDED
        case _:
            return None


def _describe(comparison: Comparison, *, is_full: bool) -> str:
    if is_full:
        return "the engine does not say with the model's weights what was said when they were trained"
    if comparison.verdict is Verdict.IS_BASE:
        return "the engine loaded the adapter but does not apply it: the base model answers in its place"
    return "the engine with the adapter does not say what was said when it was trained"


def _read(directory: Path) -> GoldenSamples | None:
    """None: it never had any. An older version published it, or its base did not fit beside its quantised one."""
    try:
        with (directory / GOLDEN_SAMPLES).open("rb") as file:
            return GoldenSamples.model_validate_json(file.read(_MOST_BYTES))
    except FileNotFoundError:
        if _once_had(directory):
            raise AdapterRejected(f"the adapter's {GOLDEN_SAMPLES} is missing") from None
        return None
    except (OSError, ValidationError) as error:
        raise AdapterRejected(f"the adapter's {GOLDEN_SAMPLES} is damaged") from error


def _once_had(directory: Path) -> bool:
    manifest = _read_manifest(directory)
    return manifest is not None and GOLDEN_SAMPLES in manifest.files


def _form_of(directory: Path, golden: GoldenSamples | None) -> str | None:
    """How the base was quantised on which it was proven; of one without samples, on which it was to be served."""
    if golden is not None:
        return golden.quantization
    manifest = _read_manifest(directory)
    return None if manifest is None else manifest.served_in


def _describe_forms(proven_on: str | None, served_in: str | None) -> str:
    """What it does on another form of its base is near, but is not what was proven."""
    before, now = (form or "as its files are" for form in (proven_on, served_in))
    return (
        f"the base model was served in another form when the model was made (then: {before}; now: {now}); a base "
        "model's serve_quantized goes with its models"
    )


def _read_manifest(directory: Path) -> AdapterManifest | None:
    try:
        return read_adapter_manifest(directory)
    except (OSError, ValueError) as error:
        raise AdapterRejected(f"the adapter's {MANIFEST} is damaged") from error

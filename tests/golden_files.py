"""Golden samples as a training would leave them for an adapter that `FakeVllm` is to serve."""

from pathlib import Path

from tests.fake_vllm import score, voice_of
from trainer.contract.golden import GOLDEN_SAMPLES, GoldenSample, build_golden_samples
from trainer.contract.spec import Quantization

_PROMPTS = ([1, 2, 3], [4, 5, 6])
_SAMPLED = ([7, 8, 9, 10], [11, 12, 13, 14])


def write_golden_samples(
    directory: Path,
    *,
    of: Path | None = None,
    off: float = 0.0,
    faint: bool = False,
    quantization: Quantization | None = None,
) -> Path:
    """Write those of the adapter in `of` (None: its own), each number `off` by so many nats."""
    voice = voice_of(of or directory)
    samples = []
    for prompt, sampled in zip(_PROMPTS, _SAMPLED, strict=True):
        of_adapter, of_base = (score(whose, [*prompt, *sampled], faint=faint)[-len(sampled) :] for whose in (voice, 0))
        samples.append(
            GoldenSample(
                prompt_token_ids=tuple(prompt),
                sampled_token_ids=tuple(sampled),
                adapter_logprobs=tuple(value + off for value in of_adapter),
                base_logprobs=tuple(of_base),
            )
        )
    path = directory / GOLDEN_SAMPLES
    path.write_text(build_golden_samples(samples, dtype="float32", quantization=quantization).model_dump_json())
    return path

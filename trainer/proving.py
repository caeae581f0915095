"""Write an adapter as it is served, and let nothing through that does not do what the trained model does.

The files are reloaded on a fresh base, as another process would, and logits are compared. The golden samples are taken
of what was reloaded. S samples, L tokens, V vocabulary.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch import Tensor

from trainer.adapter import adapted_layers, copy_adapter, load_adapter
from trainer.adapter_files import check_finite, write_adapter
from trainer.base_model import load_base_model
from trainer.contract.golden import GOLDEN_SAMPLES, GoldenSamples, Scores, build_golden_samples, measure_drift
from trainer.contract.reproduction import REPRODUCTION, Agreement, Reproduction, bound_of, relative_error
from trainer.contract.spec import LoraSettings, TrainingSpec
from trainer.failures import LossNotFinite, NotReproduced
from trainer.golden_samples import golden_samples_of, logits_of, sample, score
from trainer.plain_lora import Changes, PlainLora, as_trained, without_beginning
from trainer.probes import Probes
from trainer.setting_aside import set_aside
from trainer.state import TrainingState

_TIMES_THE_RANK = 4


@dataclass(frozen=True)
class Proof:
    """What lies beside the weights of an adapter that is published."""

    reproduction: Reproduction
    samples: GoldenSamples


@dataclass(frozen=True)
class _Said:
    """What a model says of the same tokens: the samples, then the examples."""

    tokens: Sequence[Tensor]
    logits: Sequence[Tensor]

    def again_by(self, model: Any) -> "_Said":
        return _Said(self.tokens, [logits_of(model, tokens) for tokens in self.tokens])


@dataclass(frozen=True)
class _Served:
    """What was published, and what it and the base say."""

    reproduction: Reproduction
    of_base: _Said
    of_adapter: _Said


@dataclass(frozen=True)
class Prover:
    spec: TrainingSpec
    probes: Probes

    @property
    def _serves_another(self) -> bool:
        """Whether the base that serves is quantised otherwise than the one that is trained on."""
        return self.spec.serving.quantization != self.spec.memory.quantization

    @property
    def _lora(self) -> LoraSettings:
        if self.spec.lora is None:
            raise ValueError("a run that trains all weights has no adapter to prove")
        return self.spec.lora

    def publish(self, directory: Path, state: TrainingState, *, step: int) -> Proof:
        """Write the model's adapter, which is of that step, with its samples; the same adapter gives the same bytes.

        The random numbers that training goes on with are not touched. On a GPU the model makes room for the base.

        Raises:
            LossNotFinite: a number is not finite.
            NotReproduced: what would be published does not do what was trained, at any rank that is served.
        """
        model = state.model.eval()
        check_finite(copy_adapter(model), step=step)
        trained = None if self._serves_another else self._ask(model)
        with torch.random.fork_rng(), set_aside(model):
            base = load_base_model(
                self.spec.base_model, model.device.type, quantization=self.spec.serving.quantization
            ).eval()
            served = self._publish(directory, state, base, trained, step=step)
        return self._complete(directory, model if self._serves_another else None, served)

    def write_unproven(self, directory: Path, state: TrainingState, *, step: int) -> None:
        """Write the adapter of a plain LoRA, which is served as it was trained.

        Raises:
            LossNotFinite
        """
        plain = as_trained(copy_adapter(state.model), self._lora)
        write_adapter(directory, _config_of(state.model), plain, step=step)

    def _ask(self, model: Any) -> _Said:
        return _Said([sample(model, self.probes.prompts), *self.probes.compared], ()).again_by(model)

    def _publish(
        self, directory: Path, state: TrainingState, base: Any, trained: _Said | None, *, step: int
    ) -> _Served:
        """Write the first plain LoRA that does it. `trained` is None where the model's own base is not what serves."""
        changes = None
        if trained is None or self._lora.variant == "dora":
            again = _attach_again(base, state.model)
            trained = trained or self._ask(again)
            if self._lora.variant == "dora":
                changes = Changes(again, self.probes.weighed, most=self.spec.serving.max_rank)
            base = again.unload()
        of_base = trained.again_by(base)
        tried = []
        for plain in self._forms(state, changes):
            write_adapter(directory, _config_of(state.model), plain, step=step)
            reloaded = PeftModel.from_pretrained(base, str(directory), autocast_adapter_dtype=False).eval()
            of_adapter = trained.again_by(reloaded)
            base = reloaded.unload()
            if not all(bool(torch.isfinite(logits).all()) for logits in of_adapter.logits):
                raise LossNotFinite("output of the adapter", step)
            tried.append(self._compare(plain, str(base.dtype), trained, of_base, of_adapter))
            if tried[-1].is_faithful:
                return _Served(tried[-1], of_base, of_adapter)
        raise NotReproduced(tried, max_rank=self.spec.serving.max_rank)

    def _forms(self, state: TrainingState, changes: Changes | None) -> Iterator[PlainLora]:
        """What could be published, smallest first.

        What DoRA changes has no small rank: four times its own halves the error, and no engine needs more room for it.
        """
        lora, most = self._lora, self.spec.serving.max_rank
        if changes is not None:
            rank = min(_TIMES_THE_RANK * lora.rank, most)
            while rank < most:
                yield changes.of_rank(rank)
                rank *= 2
            yield changes.of_rank(most)
        elif state.beginning is not None:
            _, layer = next(adapted_layers(state.model))
            yield without_beginning(copy_adapter(state.model), state.beginning, layer.scaling["default"])
        else:
            yield as_trained(copy_adapter(state.model), lora)

    def _compare(self, plain: PlainLora, dtype: str, trained: _Said, of_base: _Said, of_adapter: _Said) -> Reproduction:
        on_prompts, on_examples = (
            _agreement(trained.logits[part], of_base.logits[part], of_adapter.logits[part])
            for part in (slice(1), slice(1, None))
        )
        return Reproduction(
            variant=self._lora.variant,
            rank=plain.rank,
            dtype=dtype.removeprefix("torch."),
            on_prompts=on_prompts,
            on_examples=on_examples,
            bound=bound_of(self._lora.variant, self.spec.serving.max_error),
        )

    def _complete(self, directory: Path, elsewhere: Any | None, served: _Served) -> Proof:
        """Add the samples; `elsewhere` is the model, if its base is another than the one that serves."""
        n_sampled, tokens_SL = self.probes.prompts.n_sampled, served.of_adapter.tokens[0]

        def scores(logits_SLV: Tensor) -> Scores:
            return score(logits_SLV, tokens_SL, n_sampled)

        of_adapter, of_base = (scores(said.logits[0]) for said in (served.of_adapter, served.of_base))
        drift = None
        if elsewhere is not None:
            trained = scores(logits_of(elsewhere, tokens_SL))
            with elsewhere.disable_adapter():
                drift = measure_drift((trained, scores(logits_of(elsewhere, tokens_SL))), (of_adapter, of_base))
        samples = build_golden_samples(
            golden_samples_of(tokens_SL, n_sampled, of_adapter, of_base),
            dtype=served.reproduction.dtype,
            quantization=self.spec.serving.quantization,
            drift=drift,
        )
        for name, record in ((GOLDEN_SAMPLES, samples), (REPRODUCTION, served.reproduction)):
            (directory / name).write_text(record.model_dump_json(indent=1) + "\n")
        return Proof(served.reproduction, samples)


def _attach_again(base: Any, model: Any) -> Any:
    """The adapter as it was trained, on the base that serves."""
    again = get_peft_model(base, copy.deepcopy(_config_of(model)), autocast_adapter_dtype=False)
    load_adapter(again, copy_adapter(model))
    return again.eval()


def _config_of(model: Any) -> Any:
    return model.peft_config["default"]


def _agreement(trained: Sequence[Tensor], of_base: Sequence[Tensor], of_adapter: Sequence[Tensor]) -> Agreement:
    effect, error = _root_mean_square(trained, of_base), _root_mean_square(trained, of_adapter)
    return Agreement(
        n_tokens=sum(logits.shape[:-1].numel() for logits in trained),
        effect=effect,
        error=error,
        relative_error=relative_error(error=error, effect=effect),
    )


def _root_mean_square(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Of the differences of all numbers."""
    sums = [float((one - other).double().square().sum()) for one, other in zip(some, others, strict=True)]
    return float((sum(sums) / sum(one.numel() for one in some)) ** 0.5)

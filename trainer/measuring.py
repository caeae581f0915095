"""What a run takes: the peak of memory, and how many tokens it trains in a second."""

import resource
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer.contract.events import Measured
from trainer.environment import STARTED


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is on, counts the bytes of the tensors that operations make and that are still alive.

    What an operation takes for itself and gives back before it ends is not seen. Numbers are not changed.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sizes: dict[int, int] = {}
        self._live_bytes = 0
        self.peak_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {id(tensor.untyped_storage()) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if id(storage) not in self._sizes and id(storage) not in known:
                self._add(storage)
        return result

    def _add(self, storage: Any) -> None:
        key = id(storage)
        self._sizes[key] = storage.nbytes()
        self._live_bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self._live_bytes -= self._sizes.pop(key)


@dataclass
class Meter:
    """Measures one run. Only a micro-batch larger than all before it is looked at closely, which takes time.

    A GPU's allocator counts by itself: what it had at most during a step, without what publishing takes between steps.
    """

    model: Any
    allocator: Any = torch.cuda  # of the GPU, where the model is on one
    peak_bytes: int = 0  # of live tensors
    _largest_tokens: int = 0
    _start_s: float = 0.0
    _step_s: float = 0.0
    _step_cpu_s: float = 0.0
    _began: tuple[float, float] = (0.0, 0.0)  # the current step, in seconds of the clock and of the processor
    _n_steps: int = 0
    _n_tokens: int = 0

    @contextmanager
    def micro_batch(self, n_tokens: int) -> Iterator[None]:
        """Forward and backward of one micro-batch of this many tokens, padding included."""
        is_larger = n_tokens > self._largest_tokens
        self._largest_tokens = max(n_tokens, self._largest_tokens)
        if self._is_on_gpu or not is_larger:
            yield
            return
        resting_bytes = self._resting_bytes()
        with LiveTensors() as live:
            yield
        self.peak_bytes = max(self.peak_bytes, resting_bytes + live.peak_bytes)

    def begin(self) -> None:
        """Everything is loaded; the first step comes next."""
        self._start_s = time.monotonic() - STARTED

    def begin_step(self) -> None:
        if self._is_on_gpu:
            self.allocator.reset_peak_memory_stats()
        self._began = time.monotonic(), time.process_time()

    def end_step(self, *, n_tokens: int) -> None:
        self._step_s += time.monotonic() - self._began[0]
        self._step_cpu_s += time.process_time() - self._began[1]
        self._n_steps += 1
        self._n_tokens += n_tokens
        if self._is_on_gpu:
            self.peak_bytes = max(self.peak_bytes, self.allocator.max_memory_allocated())

    def read(self) -> Measured:
        """What has been measured so far in this attempt."""
        return Measured(
            device=self.model.device.type,
            peak_tensor_bytes=self.peak_bytes,
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            largest_micro_batch_tokens=self._largest_tokens,
            n_steps=self._n_steps,
            n_tokens=self._n_tokens,
            step_seconds=self._step_s,
            step_cpu_seconds=self._step_cpu_s,
            start_seconds=self._start_s,
            total_seconds=time.monotonic() - STARTED,
        )

    @property
    def _is_on_gpu(self) -> bool:
        return bool(self.model.device.type == "cuda")

    def _resting_bytes(self) -> int:
        """Weights, gradients and the optimizer's two moments, which are there from the second step on."""
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        kept = [*self.model.parameters(), *self.model.buffers(), *(p.grad for p in trained if p.grad is not None)]
        return _storage_bytes(kept) + 2 * _storage_bytes(trained)


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _storage_bytes(tensors: Iterable[Tensor]) -> int:
    sizes: dict[int, int] = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())

"""The engines of full models in an API process: each made when it is first asked for."""

import threading
from collections.abc import Callable, Iterator, Mapping

from inference.engine import InferenceEngine


class FullEngines(Mapping[str, InferenceEngine]):
    """By the model's name. It makes one for any name: ask only for models that there are.

    Any thread may ask; the engines themselves, and what lets go of them, belong to one event loop.
    """

    def __init__(self, build: Callable[[str], InferenceEngine]) -> None:
        self._build = build
        self._engines: dict[str, InferenceEngine] = {}
        self._making = threading.Lock()

    def __getitem__(self, name: str) -> InferenceEngine:
        with self._making:
            if name not in self._engines:
                self._engines[name] = self._build(name)
            return self._engines[name]

    def __iter__(self) -> Iterator[str]:
        """Those that were asked for."""
        return iter(list(self._engines))

    def __len__(self) -> int:
        return len(self._engines)

    async def drop(self, name: str) -> None:
        """Let go of a model that was deleted. Idempotent."""
        engine = self._engines.pop(name, None)
        if engine is not None:
            await engine.close()

    async def close(self) -> None:
        for name in self:
            await self.drop(name)

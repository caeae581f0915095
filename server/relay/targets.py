"""Where a project's requests for a model go: looked up once, and right as long as nothing it stands on has changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from inference.engine import AdapterRef, InferenceEngine
from server.base_models import BaseModelEntry, BaseModels
from server.db.remembered import Remembered
from server.models.resolving import Servable
from server.relay.answers import Naming
from server.relay.cache_salt import CacheSalts
from server.relay.engine_errors import not_ready, unknown_model
from server.relay.exchange import write_fields
from server.relay.served_by import SERVED_BY, served_by

Asked = tuple[str, str]  # the project's id, and the model's name


@dataclass(frozen=True)
class Target:
    """Where they go, and all that follows from it."""

    asked: Asked
    engine: InferenceEngine
    base: BaseModelEntry
    adapter: AdapterRef | None
    naming: Naming
    salt: str  # of the project
    fields: bytes  # of its answers' heads


@dataclass(frozen=True)
class Targets:
    """Belongs to one event loop."""

    find_model: Callable[[str, str], Servable | None]  # of what is asked; None: nothing the project may use. May block
    engines: Mapping[str, InferenceEngine]  # by the base model's own name
    full_engines: Mapping[str, InferenceEngine]  # by the full model's; asked from threads
    base_models: BaseModels
    salts: CacheSalts
    remembered: Remembered[Asked, Target]

    def known(self, asked: Asked, version: int) -> Target | None:
        """Give it if nothing has to be looked up."""
        return self.remembered.known(asked, version)

    async def find(self, asked: Asked, version: int) -> Target:
        """Raises: NotFound, EngineUnavailable."""
        found = await self.remembered.find(asked, version, lambda: self._look_up(asked))
        if found is None:
            raise unknown_model(asked[1])
        return found

    def _look_up(self, asked: Asked) -> Target | None:
        project_id, name = asked
        adapter: AdapterRef | None = None
        base = self.base_models.find(name)
        if base is None and (found := self.find_model(project_id, name)):
            base, adapter = self.base_models.find(found.base_model), found.adapter
        if base is None:
            return None
        engine = self._engine_of(base, adapter)
        if engine is None:
            raise not_ready()
        return Target(
            asked,
            engine,
            base,
            adapter,
            naming=Naming(asked=name, engine=base.name if adapter is None else adapter.name),
            salt=self.salts.of(project_id),
            fields=write_fields([(SERVED_BY.encode(), served_by(adapter).encode())]),
        )

    def _engine_of(self, base: BaseModelEntry, adapter: AdapterRef | None) -> InferenceEngine | None:
        if adapter is not None and adapter.is_full:
            return self.full_engines.get(adapter.engine)
        return self.engines.get(base.name)

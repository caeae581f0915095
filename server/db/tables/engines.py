"""Engines: which run, who waits for them, and whose turn it is on the device."""

from sqlmodel import Field, SQLModel


class EngineRow(SQLModel, table=True):
    """How the engine of a base model, or of a full one, stands; written by the parent, which starts and stops it."""

    __tablename__ = "engine"

    base_model: str = Field(primary_key=True)
    state: str  # placement.facts.EngineState
    state_since: float  # unix seconds
    why: str | None = None  # placement.facts.Why
    detail: str | None = None  # for the operator
    deaths: int = 0  # in a row, since it was last ready
    start_s: float | None = None  # what its last start took, from the start of its process until it answered


class EngineDemandRow(SQLModel, table=True):
    """What one API process is asked of an engine. A row that is not refreshed is of a process that is gone."""

    __tablename__ = "engine_demand"

    base_model: str = Field(primary_key=True)
    reporter: str = Field(primary_key=True)
    asked_at: float  # unix seconds; the last request
    waiting: int = 0
    waiting_since: float = 0.0
    active: int = 0
    reported_at: float


class DeviceTurnRow(SQLModel, table=True):
    """Whose turn it is to have the device, where engines and trainers have it in turns. One row."""

    __tablename__ = "device_turn"

    id: int = Field(default=1, primary_key=True)
    holder: str  # placement.facts.Holder
    since: float  # unix seconds
    used: bool = False

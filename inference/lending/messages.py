"""What the borrowers of adapters and their lender say to each other: one JSON object a line (pure)."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from inference.engine import AdapterRef


class Message(msgspec.Struct, tag=str.lower, tag_field="say"):
    """Ids are the borrower's, unique on its connection."""


class Ask(Message):
    """Borrower: I want to hold this adapter. Answered by `Held` or `Refused`."""

    id: int
    adapter: AdapterRef


class Answered(Message):
    """Borrower: the first bytes of an answer with what I hold are here."""

    id: int


class Release(Message):
    """Borrower: I hold it no longer, or no longer want to."""

    id: int


class Lost(Message):
    """Borrower: the engine does not know this adapter after all."""

    base_model: str
    name: str


class Forget(Message):
    """Borrower: nobody may use this adapter any more. Answered by `Forgotten` or `Refused`."""

    id: int
    base_model: str
    name: str


class Held(Message):
    """Lender: the adapter is resident, and stays so until you release it."""

    id: int


class Forgotten(Message):
    """Lender: it is unloaded; its files may be deleted."""

    id: int


class Refused(Message):
    """Lender: no, and the id is free. The reason is safe to show to whoever may use the adapter."""

    id: int
    kind: Literal["rejected", "unavailable"]
    reason: str


class Recall(Message):
    """Lender: begin nothing more with it, and release it when what you do is done."""

    id: int


class Abort(Message):
    """Lender: end what you do with it, and release it."""

    id: int


FromBorrower = Ask | Answered | Release | Lost | Forget
FromLender = Held | Forgotten | Refused | Recall | Abort


def encode(message: Message) -> bytes:
    return _ENCODER.encode(message) + b"\n"


def decode_from_borrower(line: bytes) -> FromBorrower:
    """Raises: msgspec.DecodeError: it is none."""
    return _FROM_BORROWER.decode(line)


def decode_from_lender(line: bytes) -> FromLender:
    """Raises: msgspec.DecodeError: it is none."""
    return _FROM_LENDER.decode(line)


def _read_path(kind: type, value: Any) -> Path:
    if kind is not Path or not isinstance(value, str):
        raise NotImplementedError(kind)
    return Path(value)


_ENCODER = msgspec.json.Encoder(enc_hook=str)  # only of a path
_FROM_BORROWER: msgspec.json.Decoder[FromBorrower] = msgspec.json.Decoder(FromBorrower, dec_hook=_read_path)
_FROM_LENDER: msgspec.json.Decoder[FromLender] = msgspec.json.Decoder(FromLender, dec_hook=_read_path)

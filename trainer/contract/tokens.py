"""The tokens of a data file as they are kept: a directory of arrays, and what it says of itself.

training.tokens/
  tokens.json      what the arrays are of, and how many there are
  ids              int32 a token: the sequences of the file one after the other, not cut
  mask             uint8 a token: 1 where a token is trained on
  offsets          int64, one more than sequences: where each begins, and where the last one ends
  lines            uint32 a sequence: its line in the file
  first_trained    int32 a sequence: its first token that is trained on, -1 if there is none
  desirable        uint8 a sequence: 1 if what is trained on is to become more likely, 0 if less
  manifest.json    the hashes of all of them; complete when renamed into place, like a checkpoint

An example is one sequence; a preference is two that follow each other, the preferred answer first, and each with the
prompt before it.
"""

import hashlib
from pathlib import Path

from pydantic import Field, ValidationError

from trainer.contract.run_directory import write_atomically
from trainer.contract.spec import Frozen

TOKENS_VERSION = 2  # raised when other arrays come of the same file: by the reading, the rendering, the redaction
_SUMMARY = "tokens.json"


class TokensKey(Frozen):
    """All that the arrays depend on. The context length is not among it: they are cut when they are read."""

    version: int = TOKENS_VERSION
    data_sha256: str
    tokenizer_sha256: str
    template_sha256: str
    redacts: bool  # personal data and secrets
    libraries: dict[str, str]  # the versions of those that have a part in it

    @property
    def name(self) -> str:
        """Of a directory among others of the same file."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]


class TokensSummary(Frozen):
    key: TokensKey
    n_examples: int = Field(ge=0)
    sequences_per_example: int = Field(ge=1, le=2)
    n_tokens: int = Field(ge=0)
    longest_tokens: int = Field(ge=0)  # of a sequence


def write_summary(directory: Path, summary: TokensSummary) -> None:
    write_atomically(directory / _SUMMARY, summary.model_dump_json(indent=2).encode() + b"\n")


def read_summary(directory: Path) -> TokensSummary | None:
    """What a directory says that it holds; None if it is no such directory. The arrays are not looked at."""
    try:
        return TokensSummary.model_validate_json((directory / _SUMMARY).read_bytes())
    except (OSError, ValidationError):
        return None

"""Which base model exactly: the commit of its repository, or a hash over what its directory holds."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from server.base_models import BaseModelEntry
from server.record.hashes import FileHashes
from server.record.licence import UNKNOWN, Licence, find_legal_files, find_licence

_COMMIT = re.compile(r"[0-9a-f]{40}")
# What decides how the model behaves, besides its *.safetensors.
_DECISIVE = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)


@dataclass(frozen=True)
class BaseIdentity:
    repository: str | None  # on the Hugging Face Hub; None: a directory of this machine
    revision: str | None  # a commit, or `sha256:` over the directory's files; None: not known
    chat_template_sha256: str | None = None  # of the operator's template, where it takes the place of the base's own
    licence: Licence = UNKNOWN
    legal_files: tuple[Path, ...] = ()  # to copy


def identify(entry: BaseModelEntry, hashes: FileHashes, environment: Mapping[str, str] = os.environ) -> BaseIdentity:
    """Look at the base model's files. Hashing a large directory takes minutes, once.

    Raises:
        OSError: they cannot be read.
    """
    is_directory = _is_directory(entry)
    directory, revision = (
        (Path(entry.source), content_revision(Path(entry.source), hashes))
        if is_directory
        else find_snapshot(entry.source, entry.revision, environment)
    )
    return BaseIdentity(
        repository=None if is_directory else entry.source,
        revision=revision,
        chat_template_sha256=None if entry.chat_template is None else hashes.sha256(entry.chat_template),
        licence=UNKNOWN if directory is None else find_licence(directory),
        legal_files=() if directory is None else tuple(find_legal_files(directory)),
    )


def find_directory(entry: BaseModelEntry, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where the base model's files lie on this machine; None if they are not here yet."""
    if _is_directory(entry):
        return Path(entry.source)
    return find_snapshot(entry.source, entry.revision, environment)[0]


def _is_directory(entry: BaseModelEntry) -> bool:
    return Path(entry.source).is_absolute()


def content_revision(directory: Path, hashes: FileHashes) -> str:
    """A hash over the hashes of weights, configuration and tokenizer: the same for the same model, wherever it lies."""
    paths = [*directory.glob("*.safetensors"), *(directory / name for name in _DECISIVE)]
    lines = [f"{hashes.sha256(path)}  {path.name}\n" for path in sorted(paths) if path.is_file()]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def find_snapshot(
    repository: str, revision: str | None, environment: Mapping[str, str]
) -> tuple[Path | None, str | None]:
    """Directory and commit of a repository in the Hub's cache of this machine; None for what is not known."""
    cache = _hub_cache(environment) / f"models--{repository.replace('/', '--')}"
    commit = revision
    if revision is None or not _COMMIT.fullmatch(revision):
        try:
            commit = (cache / "refs" / (revision or "main")).read_text().strip()
        except FileNotFoundError:
            return None, revision
    directory = cache / "snapshots" / str(commit)
    return (directory if directory.is_dir() else None), commit


def _hub_cache(environment: Mapping[str, str]) -> Path:
    """As huggingface_hub finds it."""
    if cache := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    home = environment.get("HF_HOME") or Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"

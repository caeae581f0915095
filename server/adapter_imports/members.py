"""Which files of an archive or a directory are the adapter, and how they are copied: two of them, no others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from inference.adapter_config import CONFIG
from inference.adapter_files import WEIGHTS
from server.adapter_imports.unusable import shown, unusable
from server.errors import PayloadTooLarge

MOST_MEMBERS = 256
_MAX_CONFIG_BYTES = 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth", "pytorch_model.bin")
_NO_PICKLES = (
    f"The adapter's weights are a pickle, which can run code when it is loaded and is never read here. "
    f"Save the adapter again as {WEIGHTS}, with PEFT's save_pretrained(..., safe_serialization=True)."
)


@dataclass(frozen=True)
class Member:
    """A plain file of an archive or a directory."""

    name: str  # with `/`
    chunks: Callable[[], Iterator[bytes]]


def check_name(name: str) -> None:
    """Raises: InvalidRequest: such a name is in no archive that means well."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or ":" in parts[0]:
        raise unusable(
            f"The archive's member '{shown(name)}' is to lie outside of the archive's folder. "
            "Make the archive of the adapter's folder itself: tar -cf adapter.tar -C FOLDER ."
        )


def no_link(name: str) -> Exception:
    return unusable(
        f"The archive's member '{shown(name)}' is a link or a device. Archive the files themselves: tar -h does."
    )


def too_many_members() -> Exception:
    return unusable(
        f"The archive has more than {MOST_MEMBERS} members. Send the adapter's {CONFIG} and {WEIGHTS} alone."
    )


def list_directory(directory: Path) -> list[Member]:
    """The files of an operator's own directory. A link to a file is one: caches of downloads consist of them."""
    return [Member(path.name, partial(_read, path)) for path in sorted(directory.iterdir()) if path.is_file()]


def copy_adapter(members: Sequence[Member], destination: Path, *, max_bytes: int) -> None:
    """Copy the adapter's two files, whose contents nobody has looked at, into a directory that is empty.

    Raises:
        InvalidRequest: there is no adapter, or more than one.
        PayloadTooLarge: it is larger than an adapter may be.
    """
    files = _choose(members)
    _copy(files[CONFIG], destination / CONFIG, _MAX_CONFIG_BYTES)
    _copy(files[WEIGHTS], destination / WEIGHTS, max_bytes)


def _choose(members: Sequence[Member]) -> dict[str, Member]:
    """At the top, or in one folder."""
    by_folder: dict[str, dict[str, Member]] = {}
    for member in members:
        folder, _, file = member.name.removeprefix("./").rpartition("/")
        if "/" in folder:
            continue
        files = by_folder.setdefault(folder, {})
        if file in files:
            raise unusable(f"The archive holds '{shown(member.name)}' twice.")
        files[file] = member
    found = [files for files in by_folder.values() if CONFIG in files]
    if len(found) > 1:
        raise unusable(f"The archive holds {len(found)} adapters. Send each in an archive of its own.")
    if not found:
        raise unusable(f"There is no {CONFIG} at the top or in a folder there. Send what PEFT's save_pretrained wrote.")
    if WEIGHTS in found[0]:
        return found[0]
    if any(name in found[0] for name in _PICKLES):
        raise unusable(_NO_PICKLES)
    raise unusable(f"There is no {WEIGHTS} beside the {CONFIG}. Send what PEFT's save_pretrained wrote.")


def _copy(member: Member, destination: Path, max_bytes: int) -> None:
    n_bytes = 0
    with destination.open("xb") as file:
        for chunk in member.chunks():
            n_bytes += len(chunk)
            if n_bytes > max_bytes:
                raise PayloadTooLarge(
                    f"'{shown(member.name)}' is larger than {max_bytes} bytes when it is unpacked.", param="file"
                )
            file.write(chunk)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk

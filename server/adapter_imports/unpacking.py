"""From an archive, or a directory, to the two files of an adapter as they were sent."""

from pathlib import Path
from typing import BinaryIO

from server.adapter_imports.members import Member, copy_adapter, list_directory
from server.adapter_imports.tar_file import list_tar
from server.adapter_imports.unusable import unusable
from server.adapter_imports.zip_file import list_zip

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def unpack(source: Path, destination: Path, *, max_bytes: int) -> None:
    """Fill an empty directory with the adapter's config and weights. Neither has been looked at then.

    Raises:
        InvalidRequest: there is no adapter in it, or something in it means harm.
        PayloadTooLarge: its weights are larger than so many bytes.
    """
    if source.is_dir():
        copy_adapter(list_directory(source), destination, max_bytes=max_bytes)
        return
    with source.open("rb") as file:
        copy_adapter(_list_archive(file), destination, max_bytes=max_bytes)


def _list_archive(file: BinaryIO) -> list[Member]:
    beginning = file.read(8)
    if beginning.startswith(b"PK"):
        return list_zip(file)
    for magic, name in _COMPRESSED.items():
        if beginning.startswith(magic):
            raise unusable(f"The archive is compressed with {name}. Send a plain tar: weights do not compress.")
    return list_tar(file)

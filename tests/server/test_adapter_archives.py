"""An archive gives two files or a refusal, whatever is in it."""

import io
import json
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from server.adapter_imports.unpacking import unpack
from server.errors import ApiError, InvalidRequest, PayloadTooLarge
from server.models.archive import open_archive
from tests.foreign_adapters import CONFIG, WEIGHTS, files_of, tar_of, write_foreign, zip_of

MAX_BYTES = 100_000


def unpacked(tmp_path: Path, archive: bytes) -> dict[str, bytes]:
    (tmp_path / "archive").write_bytes(archive)
    sent = tmp_path / "sent"
    sent.mkdir()
    unpack(tmp_path / "archive", sent, max_bytes=MAX_BYTES)
    return {path.name: path.read_bytes() for path in sent.iterdir()}


def inside(folder: str) -> dict[str, bytes]:
    return {f"{folder}/{name}": data for name, data in files_of().items()}


LONG = "a-folder-with-a-name-of-more-than-a-hundred-characters-" * 4
SOUND = {
    "at the top": tar_of(files_of()),
    "with a dot before": tar_of(inside(".")),
    "in a folder": tar_of(inside("adapter")),
    "in a folder of a long name": tar_of(inside(LONG)),
    "in GNU's form": tar_of(inside(LONG), form=tarfile.GNU_FORMAT),
    "in the old form": tar_of(inside("adapter"), form=tarfile.USTAR_FORMAT),
    "with what else a trainer leaves": tar_of(
        {"x/training_args.bin": b"\x80", "x/README.md": b"", "x/checkpoint-5/adapter_config.json": b""} | inside("x")
    ),
    "zipped": zip_of({**files_of()}),
    "zipped in a folder, stored": zip_of({**inside("adapter")}, zipfile.ZIP_STORED),
}  # fmt: skip


@pytest.mark.parametrize("archive", SOUND.values(), ids=SOUND)
def test_the_adapters_two_files_are_taken_and_no_others(tmp_path: Path, archive: bytes) -> None:
    assert unpacked(tmp_path, archive) == files_of()


def test_the_archive_that_we_give_away_is_one_that_we_take(tmp_path: Path) -> None:
    directory = write_foreign(tmp_path / "ours")
    (directory / "manifest.json").write_text("{}")
    archive = open_archive(directory, top="ft-name", created_at=1)

    assert unpacked(tmp_path, b"".join(archive.chunks)) == files_of()


def test_an_operators_directory_is_read_through_its_links(tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for path in write_foreign(tmp_path / "blobs").iterdir():
        (snapshot / path.name).symlink_to(path)
    (tmp_path / "sent").mkdir()

    unpack(snapshot, tmp_path / "sent", max_bytes=MAX_BYTES)

    assert not any(path.is_symlink() for path in (tmp_path / "sent").iterdir())


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped_link() -> bytes:
    info = zipfile.ZipInfo(WEIGHTS)
    info.external_attr = 0o120777 << 16
    return zip_of({CONFIG: files_of()[CONFIG], info: b"/etc/passwd"})


def encrypted() -> bytes:
    data = bytearray(zip_of({**files_of()}))
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def with_pax_size(size: bytes) -> bytes:
    header = tarfile.TarInfo(WEIGHTS)
    header.pax_headers = {"size": size.decode(), "comment": "x"}
    return tar_of({CONFIG: files_of()[CONFIG]}, header)


def long_header(kind: bytes) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 1_000_000
    archive = io.BytesIO(info.tobuf() + bytes(1_000_448))
    return archive.getvalue() + tar_of(files_of())


def negative_size() -> bytes:
    """One of those that send Python's own reader round in circles."""
    data = bytearray(tar_of(files_of(), form=tarfile.USTAR_FORMAT))
    data[124:136] = b"\xff" * 12
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
    return bytes(data)


HARMFUL: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "There is no adapter_config.json"),
    "noise": (os.urandom(5000), "neither a tar nor a zip"),
    "weights alone": (tar_of({WEIGHTS: files_of()[WEIGHTS]}), "There is no adapter_config.json"),
    "a config alone": (tar_of({CONFIG: b"{}"}), "There is no adapter_model.safetensors"),
    "a pickle": (tar_of({CONFIG: b"{}", "adapter_model.bin": b"\x80\x04."}), "pickle.*safe_serialization=True"),
    "two adapters": (tar_of(inside("one") | inside("two")), "holds 2 adapters"),
    "an adapter two folders down": (tar_of(inside("one/two")), "There is no adapter_config.json"),
    "a path upwards": (tar_of({"../../evil": b"", **files_of()}), "to lie outside"),
    "a path upwards, inside": (tar_of({"x/../../evil": b"", **files_of()}), "to lie outside"),
    "an absolute path": (tar_of({"/etc/cron.d/x": b"", **files_of()}), "to lie outside"),
    "a path of Windows": (tar_of({"C:\\x": b"", **files_of()}), "to lie outside"),
    "a path upwards of Windows": (tar_of({"..\\x": b"", **files_of()}), "to lie outside"),
    "a link": (tar_of({CONFIG: b"{}"}, member(WEIGHTS, tarfile.SYMTYPE, "/etc/passwd")), "a link or a device"),
    "a hard link": (tar_of({CONFIG: b"{}"}, member(WEIGHTS, tarfile.LNKTYPE, "/etc/passwd")), "a link or a device"),
    "a device": (tar_of({CONFIG: b"{}"}, member(WEIGHTS, tarfile.CHRTYPE)), "a link or a device"),
    "a pipe": (tar_of({CONFIG: b"{}"}, member(WEIGHTS, tarfile.FIFOTYPE)), "a link or a device"),
    "a sparse file": (tar_of({CONFIG: b"{}"}, member(WEIGHTS, tarfile.GNUTYPE_SPARSE)), "a link or a device"),
    "a member twice": (tar_of(files_of(), member(CONFIG, tarfile.REGTYPE)), "twice"),
    "too many members": (tar_of({f"{n}": b"" for n in range(300)}), "more than 256 members"),
    "too many folders": (tar_of({}, *[member(f"{n}", tarfile.DIRTYPE) for n in range(900)]), "more than 256 members"),
    "cut short": (tar_of(files_of())[:700], "cut short"),
    "longer than its archive": (with_pax_size(b"123456789012"), "cut short"),
    "a length that is none": (with_pax_size(b"-1"), "damaged"),
    "a header of a megabyte": (long_header(b"x"), "far too large"),
    "a name of a megabyte": (long_header(b"L"), "far too large"),
    "a length below nothing": (negative_size(), "damaged"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "compressed with gzip.*plain tar"),
    "xz": (b"\xfd7zXZ\x00" + bytes(100), "compressed with xz"),
    "a zip cut short": (zip_of({**files_of()})[:-30], "damaged zip"),
    "a zip with a path upwards": (zip_of({"../evil": b"", **files_of()}), "to lie outside"),
    "a zip with an absolute path": (zip_of({"/evil": b"", **files_of()}), "to lie outside"),
    "a zip with a link": (zipped_link(), "a link or a device"),
    "an encrypted zip": (encrypted(), "encrypted"),
    "a zip of lzma": (zip_of({**files_of()}, zipfile.ZIP_LZMA), "otherwise than by deflate"),
    "a zip of too many": (zip_of({f"{n}": b"" for n in range(300)}), "more than 256 members"),
    "a zip with a wrong checksum": (zip_of({**files_of()}, zipfile.ZIP_STORED).replace(b"LORA", b"LoRA"), "damaged"),
    "a zip with a list of no end": (b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 9, 9, 2**32 - 2, 0, 0), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize(("archive", "words"), HARMFUL.values(), ids=HARMFUL)
def test_an_archive_that_is_no_adapter_is_refused(tmp_path: Path, archive: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        unpacked(tmp_path, archive)
    assert refused.value.param == "file"


BOMBS = {
    "weights": zip_of({CONFIG: b"{}", WEIGHTS: bytes(50_000_000)}),
    "a config": zip_of({CONFIG: bytes(50_000_000), WEIGHTS: b""}),
    "a tar's config": tar_of({CONFIG: bytes(2_000_000), WEIGHTS: b""}),
}


@pytest.mark.parametrize("archive", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_not_unpacked_beyond_what_an_adapter_may_have(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(PayloadTooLarge, match="larger than"):
        unpacked(tmp_path, archive)
    assert sum(path.stat().st_size for path in (tmp_path / "sent").iterdir()) <= 1024 * 1024 + MAX_BYTES


def test_any_damage_to_an_archive_is_refused_in_words(tmp_path: Path) -> None:
    """Each byte of the first headers, set to 255: it is the adapter all the same, or refused."""
    for number, sound in enumerate((tar_of(inside(LONG)), zip_of({**files_of()}))):
        for place in range(0, 700, 3):
            at = place if number == 0 else len(sound) - 1 - place % 200
            archive = tmp_path / "archive"
            archive.write_bytes(sound[:at] + b"\xff" + sound[at + 1 :])
            sent = tmp_path / f"sent-{number}-{place}"
            sent.mkdir()
            try:
                unpack(archive, sent, max_bytes=MAX_BYTES)
            except ApiError:
                continue
            assert json.loads((sent / CONFIG).read_bytes())["peft_type"] == "LORA"

"""What a file is that is not JSON Lines: by its first bytes, or by a first line that is not JSON."""

import codecs
import re

from trainer.contract.invalid import FileInvalid

HEAD_BYTES = 64  # of a file are looked at
ONE_PER_LINE = "Write one JSON object per line (JSON Lines)."

_EXPORT = f"Export it as text. {ONE_PER_LINE}"
_MAGIC = (
    (codecs.BOM_UTF32_LE, "The file is not UTF-8 but UTF-32. Save it as UTF-8."),
    (codecs.BOM_UTF16_LE, "The file is not UTF-8 but UTF-16. Save it as UTF-8."),
    (codecs.BOM_UTF16_BE, "The file is not UTF-8 but UTF-16. Save it as UTF-8."),
    (b"PAR1", f"The file is in Parquet's format. {_EXPORT}"),
    (b"ARROW1", f"The file is in Arrow's format. {_EXPORT}"),
    (b"Obj\x01", f"The file is in Avro's format. {_EXPORT}"),
    (b"SQLite format 3", f"The file is an SQLite database. {_EXPORT}"),
    (b"PK\x03\x04", f"The file is a ZIP archive or a spreadsheet (.xlsx). Unpack or export it. {ONE_PER_LINE}"),
    (b"\xd0\xcf\x11\xe0", f"The file is a spreadsheet or document of an old Office format. {_EXPORT}"),
    (b"%PDF", f"The file is a PDF. {_EXPORT}"),
    (b"\x1f\x8b", "The file is compressed with gzip. Unpack it and upload what is in it."),
    (b"BZh", "The file is compressed with bzip2. Unpack it and upload what is in it."),
    (b"\xfd7zXZ", "The file is compressed with xz. Unpack it and upload what is in it."),
    (b"\x28\xb5\x2f\xfd", "The file is compressed with zstd. Unpack it and upload what is in it."),
    (b"7z\xbc\xaf", "The file is a 7z archive. Unpack it and upload what is in it."),
)
_UNMARKED_UTF16 = re.compile(rb"[\[{\"]\0|\0[\[{\"]")
_MARKUP = re.compile(rb"<(!doctype|html|head|body|\?xml)\b", re.IGNORECASE)
_CELL = r'(?:"[^"]{1,60}"|[^\W\d][\w.-]*(?: [\w.-]+){0,3})'
_TABLE = re.compile(rf"{_CELL}(?:([,;|\t]){_CELL})(?:\1{_CELL})*")


def refuse_foreign_file(head: bytes) -> None:
    """Raises FileInvalid if the file's first bytes are those of another kind of file."""
    for magic, reason in _MAGIC:
        if head.startswith(magic):
            raise FileInvalid(1, None, reason)
    if _UNMARKED_UTF16.match(head):
        raise FileInvalid(1, None, "The file is not UTF-8 but UTF-16. Save it as UTF-8.")


def name_foreign_text(first_line: bytes) -> str | None:
    """What a file is whose first line is not JSON, and what to do; None: nothing that is known."""
    if _MARKUP.match(first_line):
        return f"The file is a page of HTML or XML, perhaps an error page saved as a file. {ONE_PER_LINE}"
    header = _TABLE.fullmatch(first_line[:1000].decode(errors="replace"))
    if header is None:
        return None
    kind = "TSV (a table with tabs)" if header[1] == "\t" else f'CSV (a table with "{header[1]}" between the columns)'
    return f"The file looks like {kind}. {ONE_PER_LINE}"

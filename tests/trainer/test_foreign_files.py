"""Files that are not JSON Lines: what they are is said by name, on the right line, with what to do."""

import codecs
import gzip
import io
import json
import zipfile

import pytest
from format_rows import GOOD_ROWS, json_lines

from trainer.contract.faults import find_faults
from trainer.contract.formats.names import FileFormat

ROW = GOOD_ROWS[FileFormat.CHAT][0]
LINE = json_lines([ROW])


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("zebra.jsonl", LINE)
    return buffer.getvalue()


FOREIGN: dict[str, tuple[bytes, str]] = {
    "Parquet": (b"PAR1\x15\x04" + bytes(200), "The file is in Parquet's format."),
    "Arrow": (b"ARROW1\0\0" + bytes(200), "The file is in Arrow's format."),
    "xlsx": (zipped(), "a ZIP archive or a spreadsheet (.xlsx)"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(200), "of an old Office format"),
    "gzip": (gzip.compress(LINE * 100), "compressed with gzip. Unpack it"),
    "bzip2": (b"BZh91AY&SY" + bytes(99), "compressed with bzip2"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(99), "compressed with zstd"),
    "xz": (b"\xfd7zXZ\0" + bytes(99), "compressed with xz"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive"),
    "SQLite": (b"SQLite format 3\0" + bytes(99), "an SQLite database"),
    "Avro": (b"Obj\x01" + bytes(99), "Avro's format"),
    "PDF": (b"%PDF-1.7\n" + bytes(99), "The file is a PDF."),
    "a short magic": (b"PAR1", "The file is in Parquet's format."),
    "UTF-16 with a mark": (LINE.decode().encode("utf-16"), "not UTF-8 but UTF-16. Save it as UTF-8."),
    "UTF-16 little": (LINE.decode().encode("utf-16-le"), "not UTF-8 but UTF-16. Save it as UTF-8."),
    "UTF-16 big": (LINE.decode().encode("utf-16-be"), "not UTF-8 but UTF-16. Save it as UTF-8."),
    "UTF-32": (LINE.decode().encode("utf-32"), "not UTF-8 but UTF-32. Save it as UTF-8."),
    "HTML": (b"<!DOCTYPE html>\n<html><body>zebra</body></html>\n", "a page of HTML or XML"),
    "XML": (b'<?xml version="1.0"?>\n<zebra/>\n', "a page of HTML or XML"),
    "CSV": (b"prompt,completion\nzebra,horse\n", 'The file looks like CSV (a table with "," between the columns).'),
    "quoted CSV": (b'"prompt text","completion"\r\n"zebra","horse"\r\n', "The file looks like CSV"),
    "CSV with semicolons": (b"prompt;completion;note\nzebra;horse;\n", 'CSV (a table with ";" between'),
    "CSV after a mark": (codecs.BOM_UTF8 + b"prompt,completion\n", "The file looks like CSV"),
    "TSV": (b"prompt\tcompletion\nzebra\thorse\n", "The file looks like TSV"),
    "an array": (json.dumps([ROW, ROW]).encode(), "The file is a JSON array."),
    "a broken array": (b"[" + LINE.strip() + b",\n" + LINE.strip() + b"\n]", "The file looks like a JSON array."),
    "pretty-printed": (json.dumps(ROW, indent=1).encode() * 3, "pretty-printed JSON, an object over several lines."),
    "empty": (b"", "The file is empty."),
    "a mark alone": (codecs.BOM_UTF8, "The file is empty."),
    "white space": (b" \n\r\n\t\n", "The file is empty."),
}
LINES: dict[str, tuple[bytes, str]] = {
    "prose": (
        b"Once upon a time, there was a zebra.",
        "The line is not valid JSON (character 1). Write one JSON object",
    ),
    "two objects": (LINE.strip() + LINE.strip(), f"(character {len(LINE)}): several JSON objects stand on it."),
    "a comma": (LINE.strip() + b",", "a comma follows the object, as in an array. Remove it."),
    "Python": (b"{'messages': ['zebra']}", "keys and strings stand between \", not '."),
    "a second mark": (codecs.BOM_UTF8 + LINE, "it begins with a byte order mark, as when files are put together."),
    "NaN": (b'{"zebra": NaN}', "NaN and Infinity are not JSON."),
    "a string": (b'"zebra"', "The line is not a JSON object."),
    "a list": (b'["zebra"]', "The line is not a JSON object."),
    "null": (b"null", "The line is not a JSON object."),
    "cut off": (LINE[:20], "The line is not valid JSON (character 21). Write one JSON object"),
    "Latin-1": ('{"a": "é"}'.encode("latin-1"), "The line is not UTF-8 (byte 8). Save the file as UTF-8."),
    "deep": (b'{"a":' + b"[" * 101 + b"]" * 101 + b"}", "nested more than 100 levels deep"),
    "many brackets, not deep": (b'{"a":[' + b"[]," * 200 + b"[]]}", 'has no key "messages"'),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_has_one_fault_that_says_what_it_is(name: str) -> None:
    data, words = FOREIGN[name]
    for source in ([data], [data[i : i + 1] for i in range(len(data))]):
        found = find_faults(source, 10)
        (fault,) = found.faults
        assert (found.n_faults, found.format) == (1, None)
        assert fault.line == (None if "empty" in words else 1)
        assert words in str(fault)
        assert "zebra" not in str(fault)


@pytest.mark.parametrize("name", LINES)
def test_a_line_that_is_not_json_is_named_and_the_rest_is_read(name: str) -> None:
    data, words = LINES[name]
    found = find_faults([LINE * 2 + b"\n" + data + b"\n" + LINE], 10)
    (fault,) = found.faults
    assert (fault.line, found.n_examples) == (4, 4)
    assert words in str(fault)
    assert "zebra" not in str(fault)

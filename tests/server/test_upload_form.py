"""The form of an upload is the same however the network cuts it up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ApiError, PayloadTooLarge
from server.files.expiry import ExpiresAfter
from server.files.upload import UploadForm, UploadRequest, label_of
from server.vocabulary import FilePurpose

CONTENT = b"\r\n--boundary\r\n-- line\n\r\r\n--b" * 3
BODY = (
    b'--b1\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    b'--b1\r\nContent-Disposition: form-data; name="expires_after[anchor]"\r\n\r\ncreated_at\r\n'
    b'--b1\r\nContent-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n3600\r\n'
    b'--b1\r\ncontent-disposition: form-data; name="file"; filename="a;b.jsonl"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" + CONTENT + b"\r\n--b1--\r\n"
)


def read(pieces: list[bytes], max_file_bytes: int = 10_000) -> tuple[UploadRequest, bytes]:
    written: list[bytes] = []
    form = UploadForm(
        "multipart/form-data; boundary=b1",
        max_file_bytes=max_file_bytes,
        write_file=lambda view: written.append(bytes(view)),
    )
    form.feed(pieces)
    return form.finish(), b"".join(written)


@given(st.lists(st.integers(0, len(BODY)), max_size=40).map(sorted))
def test_it_is_read_alike_in_any_pieces(cuts: list[int]) -> None:
    pieces = [BODY[start:end] for start, end in zip([0, *cuts], [*cuts, len(BODY)], strict=True)]

    expected = UploadRequest("a;b.jsonl", FilePurpose.FINE_TUNE, ExpiresAfter(3600))
    assert read(pieces) == (expected, CONTENT)


@given(st.binary(max_size=300))
def test_nonsense_is_refused_and_never_a_fault(body: bytes) -> None:
    with pytest.raises(ApiError):
        read([b"--b1\r\n", body])


@given(st.integers(0, len(BODY) - 5))
def test_a_form_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(ApiError):
        read([BODY[:length]])


def test_a_file_may_be_as_large_as_the_limit_and_no_larger() -> None:
    assert read([BODY], len(CONTENT))[1] == CONTENT
    with pytest.raises(PayloadTooLarge):
        read([BODY], len(CONTENT) - 1)


def test_fields_cannot_grow_without_bound() -> None:
    head = b'--b1\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n'
    with pytest.raises(PayloadTooLarge, match="fields beside 'file'"):
        read([head, *[b"x" * 1000] * 70])
    many = b"--b1\r\n" + b"X-Header: " + b"x" * 100_000
    with pytest.raises(ApiError):
        read([many])


@given(st.text(max_size=400))
def test_a_label_is_never_a_path(filename: str) -> None:
    label = label_of(filename)

    assert 0 < len(label) <= 255
    assert not set(label) & set("/\\\0\r\n")

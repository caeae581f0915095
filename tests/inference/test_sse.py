import pytest

from inference.sse import EndWatch, EventSplitter

STREAM = b'data: {"a": 1}\n\ndata: {"b": 2}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_events_come_whole_however_the_stream_is_cut(size: int) -> None:
    splitter, end = EventSplitter(), EndWatch()
    events = []
    for start in range(0, len(STREAM), size):
        end.feed(STREAM[start : start + size])
        events += splitter.feed(STREAM[start : start + size])
    assert events == [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]
    assert end.is_complete


def test_a_stream_without_its_last_event_is_not_complete() -> None:
    end = EndWatch()
    end.feed(STREAM.removesuffix(b"data: [DONE]\n\n"))
    assert not end.is_complete

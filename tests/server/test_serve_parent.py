"""What the parent of the service decides by itself."""

import pytest

from server.engine_member import is_deaf


@pytest.mark.parametrize(
    ("now", "started_at", "answered_at", "deaf"),
    [
        (10.0, 0.0, 0.0, False),  # it is starting
        (599.0, 0.0, 0.0, False),
        (601.0, 0.0, 0.0, True),  # it has had its time to start
        (1000.0, 990.0, 500.0, False),  # what it answered before it was started again does not count
        (130.0, 0.0, 100.0, False),  # a moment of silence
        (161.0, 0.0, 100.0, True),
    ],
)
def test_an_engine_has_time_to_start_and_a_minute_of_silence(
    now: float, started_at: float, answered_at: float, deaf: bool
) -> None:
    assert deaf == is_deaf(now=now, started_at=started_at, answered_at=answered_at, start_timeout_s=600.0)

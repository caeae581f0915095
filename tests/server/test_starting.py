"""Before the service starts: the port."""

import socket
from pathlib import Path

import pytest

from server.starting import ServeFailed, listen
from tests.running_api import make_settings


def test_each_api_process_has_a_socket_on_the_one_port_and_connections_are_dealt_out(tmp_path: Path) -> None:
    with listen(make_settings(tmp_path, port=0, api_processes=3)) as listeners:
        ports = {listener.getsockname()[1] for listener in listeners}
        assert len(ports) == 1
        clients = [socket.create_connection(("127.0.0.1", *ports)) for _ in range(120)]
        accepted = [_accept_all(listener) for listener in listeners]
        for client in clients:
            client.close()
    assert sum(accepted) == 120
    assert min(accepted) >= 15  # 40 and no less than 15, but once in a million times


@pytest.mark.parametrize("theirs", [1, 2])
@pytest.mark.parametrize("ours", [1, 2])
def test_a_port_that_another_service_has_is_not_shared_with_it(tmp_path: Path, ours: int, theirs: int) -> None:
    with listen(make_settings(tmp_path, port=0, api_processes=theirs)) as listeners:
        port = listeners[0].getsockname()[1]
        settings = make_settings(tmp_path, port=port, api_processes=ours)
        with pytest.raises(ServeFailed, match="in use"), listen(settings):
            pytest.fail("two listen on one port")


def _accept_all(listener: socket.socket) -> int:
    listener.setblocking(False)
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1

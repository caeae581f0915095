"""The worker's way to the engines, which belong to the API process: over its private control socket."""

import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.engine import AdapterRef, AdapterRejected, EngineUnavailable


@dataclass(frozen=True)
class AdapterCheck:
    """An `AdapterGate`."""

    control_socket: Path
    timeout_s: float = 180.0  # for a verification: loading, and an answer behind whatever is being answered

    def verify(self, adapter: AdapterRef) -> None:
        self._ask(
            "/adapters/verify",
            {
                "name": adapter.name,
                "base_model": adapter.base_model,
                "directory": str(adapter.directory),
                "rank": adapter.rank,
                "sha256": adapter.sha256,
                "is_full": adapter.is_full,
            },
        )

    def forget(self, engine: str, name: str) -> None:
        self._ask("/adapters/forget", {"engine": engine, "name": name})

    def _ask(self, path: str, question: dict[str, Any]) -> None:
        connection = UnixConnection(self.control_socket, self.timeout_s)
        try:
            connection.request("POST", path, json.dumps(question), {"content-type": "application/json"})
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineUnavailable("the API process does not answer") from error
        finally:
            connection.close()
        if status == 422:
            raise AdapterRejected(json.loads(body)["error"])
        if status != 200:
            raise EngineUnavailable(f"the API process answered {status}")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

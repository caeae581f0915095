"""A process that listens as an engine does, and says that it is healthy; the parent's tests start it.

`python -m tests.fake_engine_process SOCKET [SECONDS TO START] [dies]`
"""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler
from socketserver import UnixStreamServer


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return

    def address_string(self) -> str:
        return "unix"


def main(socket: str, start_s: str = "0", ending: str = "") -> None:
    time.sleep(float(start_s))
    if ending == "dies":
        print("there is no such model", flush=True)  # noqa: T201 - goes to its log
        os._exit(3)
    with UnixStreamServer(socket, _Healthy) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])

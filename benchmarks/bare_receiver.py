"""The least that receiving a file can be: the same ASGI server takes a raw body, hashes it, and writes it once."""

import asyncio
import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvicorn
import uvloop


async def receiver(scope: Any, receive: Any, send: Any) -> None:
    body = b"ok"
    if scope["type"] == "http" and scope["method"] == "POST":
        body = (await _take(Path(os.environ["TUNESMITH_HOME"]) / uuid4().hex, receive)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def _take(path: Path, receive: Any) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        is_more = True
        while is_more:
            message = await receive()
            digest.update(message["body"])
            file.write(message["body"])
            is_more = message.get("more_body", False)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


if __name__ == "__main__":
    listener = socket.socket(fileno=int(sys.argv[sys.argv.index("--listen-fd") + 1]))
    config = uvicorn.Config(receiver, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[listener]))

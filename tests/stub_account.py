"""An account at OpenAI on loopback: what is there is a table of paths, and each path can fail first."""

import base64
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]
KEY = "sk-key-of-the-account"
CSV = b"step,train_loss\n1,0.5\n"
FT_NAME = "ft:gpt-4o-mini-2024-07-18:acme:shop:AAAAAAAA"
TRAINING = b'{"messages":[{"role":"user","content":"a secret"},{"role":"assistant","content":"b"}]}\n' * 10


@dataclass
class Fault:
    """What is answered once in the place of what was asked for."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    cut_at: int | None = None  # bytes after which the connection breaks


@dataclass
class StubAccount:
    lists: dict[str, list[Json]] = field(default_factory=dict)  # by path; an empty one is an empty list
    objects: dict[str, Json] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)  # by file id
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))  # by path, one a request
    refusals: dict[str, Fault] = field(default_factory=dict)  # by path, for ever
    asked: Counter[str] = field(default_factory=Counter)
    headers: list[Json] = field(default_factory=list)
    on_asked: Callable[[str], None] = lambda _: None  # with the path, before the answer
    max_page: int = 2
    url: str = ""

    def answer(self, path: str, query: dict[str, str]) -> tuple[Fault, bytes]:
        if path in self.refusals:
            return self.refusals[path], b""
        fault = self.faults[path].pop(0) if self.faults[path] else Fault()
        if path in self.lists:
            return fault, json.dumps(self._page(self.lists[path], query)).encode()
        if path in self.objects:
            return fault, json.dumps(self.objects[path]).encode()
        file_id = path.removeprefix("/files/").removesuffix("/content")
        if path.endswith("/content") and file_id in self.contents:
            return fault, self.contents[file_id]
        return Fault(404, message=f"Invalid URL (GET {path})"), b""

    def _page(self, rows: list[Json], query: dict[str, str]) -> Json:
        start = 0
        if "after" in query:
            start = [row["id"] for row in rows].index(query["after"]) + 1
        page = rows[start : start + min(int(query["limit"]), self.max_page)]
        return {"object": "list", "data": page, "has_more": start + len(page) < len(rows)}

    @contextmanager
    def serving(self) -> Iterator[None]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def make_account() -> StubAccount:
    """Two jobs, the newest first, and their files; one of them has a page and a half of events."""
    return StubAccount(
        lists={
            "/files": [told_file("file-train"), told_file("file-result", "fine-tune-results"), told_file("file-c")],
            "/fine_tuning/jobs": [told_job("ftjob-2", status="failed"), told_job("ftjob-1")],
            "/fine_tuning/jobs/ftjob-1/events": [told_event(f"ftevent-{n}", n) for n in (3, 2, 1)],
            "/fine_tuning/jobs/ftjob-1/checkpoints": [told_checkpoint("ftckpt_1", 10)],
            "/fine_tuning/jobs/ftjob-2/events": [],
            "/fine_tuning/jobs/ftjob-2/checkpoints": [],
        },
        contents={"file-train": TRAINING, "file-result": base64.b64encode(CSV), "file-c": b"c"},
    )


def told_file(file_id: str, purpose: str = "fine-tune", **fields: Any) -> dict[str, Any]:
    return {
        "id": file_id,
        "filename": f"{file_id}.x",
        "purpose": purpose,
        "bytes": 1,
        "created_at": 1700000000,
    } | fields


def told_job(job_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": job_id,
        "created_at": 1700000000,
        "finished_at": 1700000100,
        "model": "gpt-4o-mini-2024-07-18",
        "fine_tuned_model": FT_NAME if fields.get("status", "succeeded") == "succeeded" else None,
        "organization_id": "org-theirs",
        "status": "succeeded",
        "training_file": "file-train",
        "result_files": ["file-result"],
        "hyperparameters": {"n_epochs": 2, "batch_size": 5, "learning_rate_multiplier": 1.8},
        "error": {},
        "seed": 7,
        "user_provided_suffix": "shop",
        "trained_tokens": 1700,
    } | fields


def told_event(event_id: str, at: int) -> dict[str, Any]:
    return {"id": event_id, "created_at": 1700000000 + at, "level": "info", "message": f"event {at}", "data": {}}


def told_checkpoint(checkpoint_id: str, step: int) -> dict[str, Any]:
    name = {"fine_tuned_model_checkpoint": FT_NAME, "step_number": step, "metrics": {"step": step, "train_loss": 0.5}}
    return {"id": checkpoint_id, "created_at": 1700000100, **name}


def _handler(account: StubAccount) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = unquote(parts.path.removeprefix("/v1"))
            account.asked[path] += 1
            account.on_asked(path)
            account.headers.append({name.lower(): value for name, value in self.headers.items()})
            fault, body = account.answer(path, {name: values[0] for name, values in parse_qs(parts.query).items()})
            if fault.status != 200:
                body = json.dumps({"error": {"message": fault.message}}).encode()
            self.send_response(fault.status)
            for name, value in {**fault.headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: fault.cut_at])
            self.close_connection = fault.cut_at is not None

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    return Handler

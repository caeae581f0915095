"""What lists and single objects cost with 100,000 jobs and 1,000,000 events, against 100 and 1,000."""

import http.client
import json
import sqlite3
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks.served import KEY, Served, serve

_FEW, _MANY = 100, 100_000
_EVENTS_OF_A_JOB = 10
_ROUNDS = 300


def main(few: int = _FEW, many: int = _MANY, rounds: int = _ROUNDS) -> None:
    with ExitStack() as stack:
        servers = []
        for n_jobs in (few, many):
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ts-")))
            server = stack.enter_context(serve(home, "server", "api"))
            job_id = _fill(server, home / "tunesmith.db", n_jobs)
            servers.append((server, job_id))
        for name, path in _paths().items():
            small, large = _compare(servers, path, rounds)
            times = f"{large * 1e3:.2f} ms / {small * 1e3:.2f} ms"
            print(f"{name}, {many:,} jobs / {few:,} jobs: {large / small:.2f}x ({times})")


def _paths() -> dict[str, str]:
    job = "/v1/fine_tuning/jobs/{job}"
    return {
        "list of jobs": "/v1/fine_tuning/jobs?limit=20",
        "list of jobs, by metadata": "/v1/fine_tuning/jobs?limit=20&metadata[k]=v",
        "list of jobs, further on": "/v1/fine_tuning/jobs?limit=20&after={job}",
        "a job": job,
        "a job's events": f"{job}/events",
        "a job's checkpoints": f"{job}/checkpoints",
        "list of files": "/v1/files?limit=20",
        "list of models": "/v1/models",
    }


def _compare(servers: list[tuple[Served, str]], path: str, rounds: int) -> tuple[float, float]:
    """The medians of alternating requests, in seconds."""
    taken: tuple[list[float], list[float]] = ([], [])
    connections = [server.connect() for server, _ in servers]
    for _ in range(rounds):
        for connection, (_, job_id), times in zip(connections, servers, taken, strict=True):
            started = time.perf_counter()
            _ask(connection, "GET", path.replace("{job}", job_id))
            times.append(time.perf_counter() - started)
    for connection in connections:
        connection.close()
    return statistics.median(taken[0]), statistics.median(taken[1])


def _fill(server: Served, database: Path, n_jobs: int) -> str:
    """Copy one job and its events until there are as many as asked. Gives the id of one in the middle."""
    with closing(server.connect()) as connection:
        file = _upload(connection)
        asked = {"model": "tunesmith-demo", "training_file": file, "metadata": {"k": "v"}}
        first = _ask(connection, "POST", "/v1/fine_tuning/jobs", asked)["id"]
    with closing(sqlite3.connect(database)) as rows, rows:
        rows.execute("UPDATE job SET status = 'succeeded', stage = NULL")
        rows.execute(
            "CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (VALUES(2) UNION ALL SELECT i + 1 FROM n "
            f"WHERE i < {n_jobs}) SELECT i FROM n"
        )
        copied = {"id": "printf('ftjob-%024d', i)", "seq": "i"}
        rows.execute(_copy(rows, "job", copied, "n"))
        copied = {"seq": "NULL", "id": "printf('ftevent-%024d', i)", "job_id": "job_of"}
        rows.execute(
            "CREATE TEMP TABLE m AS WITH RECURSIVE k(j) AS "
            f"(VALUES(0) UNION ALL SELECT j + 1 FROM k WHERE j < {_EVENTS_OF_A_JOB - 1}) "
            f"SELECT job.seq * {_EVENTS_OF_A_JOB} + j AS i, job.id AS job_of FROM job, k"
        )
        rows.execute(_copy(rows, "job_event", copied, "m"))
        (middle,) = rows.execute("SELECT id FROM job WHERE seq = ?", (n_jobs // 2,)).fetchone()
        (n_events,) = rows.execute("SELECT count(*) FROM job_event").fetchone()
    if n_events < n_jobs * _EVENTS_OF_A_JOB or middle == first:
        raise RuntimeError("the database was not filled")
    return str(middle)


def _copy(rows: sqlite3.Connection, table: str, changed: dict[str, str], numbers: str) -> str:
    """An INSERT of the first row once for each number, but for the columns that differ."""
    columns = [name for _, name, *_ in rows.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(changed.get(column, f'"{table}"."{column}"') for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    return (
        f"INSERT INTO {table} ({names}) SELECT {values} "
        f"FROM {numbers} CROSS JOIN (SELECT * FROM {table} ORDER BY seq LIMIT 1) AS {table}"
    )


def _upload(connection: http.client.HTTPConnection) -> str:
    boundary = "b1946ac92492d2347c6235b4d2611184"
    form = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{{}}\n\r\n'
        f"--{boundary}--\r\n"
    )
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": f"multipart/form-data; boundary={boundary}"}
    connection.request("POST", "/v1/files", form.encode(), headers)
    return str(json.loads(connection.getresponse().read())["id"])


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{method} {path} was refused: {answer.status}")
    return json.loads(content)

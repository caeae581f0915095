"""Passes the metrics of jobs on, while they train: one process per run at Weights & Biases."""

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from threading import Event

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from server.integrations import repository, wandb_run
from server.integrations.feeding import FedProcess
from server.integrations.repository import OpenIntegration
from server.settings import Settings
from server.vocabulary import TERMINAL_STATUSES, JobStatus

_LOG = logging.getLogger("tunesmith.worker")
_POLL_S = 1.0
_PATIENCE_S = 300.0  # with a process that takes nothing, or does not end
_MAX_FAILURES = 6  # of one job; the library itself has the patience with a connection that comes and goes
_PROCESSES = 16  # at once; each is tens of megabytes
_COMMAND = (sys.executable, "-m", "server.integrations.wandb_process")


class Act(Enum):
    WAIT = auto()
    START = auto()
    FEED = auto()
    CLOSE = auto()  # for now: the job is paused
    FORGET = auto()  # there never was anything to pass on


def choose(status: JobStatus, *, has_metrics: bool, is_running: bool, is_due: bool) -> Act:
    """Say what an integration needs now (pure)."""
    if status is JobStatus.PAUSED:
        return Act.CLOSE if is_running else Act.WAIT
    if is_running:
        return Act.FEED
    if not has_metrics:
        return Act.FORGET if status in TERMINAL_STATUSES else Act.WAIT
    return Act.START if is_due else Act.WAIT


@dataclass
class _Feed:
    process: FedProcess
    sent_seq: int = 0  # the last event that was handed over
    is_ended: bool = False
    moved_at: float = field(default_factory=time.monotonic)


class IntegrationFollower:
    """Holds nothing that a restart would lose: a new process is told everything again."""

    def __init__(
        self,
        database: Engine,
        settings: Settings,
        *,
        command: Sequence[str] = _COMMAND,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._settings = settings
        self._command = command
        self._clock = clock  # unix seconds
        self._feeds: dict[int, _Feed] = {}

    @property
    def n_processes(self) -> int:
        return len(self._feeds)

    def run(self, stop: Event) -> None:
        """Follow until told to stop. A busy database or a full disk is left to the next time."""
        try:
            while not stop.wait(_POLL_S):
                try:
                    self.tick()
                except (DBAPIError, OSError) as error:
                    _LOG.error("passing metrics on broke off: %s", type(error).__name__)
        finally:
            self.close()

    def tick(self) -> None:
        """Do for each integration what it needs now."""
        found = {item.row.id: item for item in repository.list_open(self._database) if item.row.id is not None}
        for key in self._feeds.keys() - found.keys():
            self._drop(key)
        for key, item in found.items():
            self._follow(key, item)

    def close(self) -> None:
        """Stop the processes; they end by themselves once their input has."""
        for feed in self._feeds.values():
            if not feed.process.is_closed:
                feed.process.close()
        deadline = time.monotonic() + self._settings.stop_grace_s
        while any(feed.process.poll() is None for feed in self._feeds.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for key in list(self._feeds):
            self._drop(key)

    def _follow(self, key: int, item: OpenIntegration) -> None:
        is_running = key in self._feeds
        act = choose(
            item.job.status,
            has_metrics=is_running or repository.has_metrics(self._database, item.job.id),
            is_running=is_running,
            is_due=item.row.not_before <= self._clock() and len(self._feeds) < _PROCESSES,
        )
        match act:
            case Act.START:
                self._start(key, item)
            case Act.FEED:
                self._feed(key, item)
            case Act.CLOSE:
                self._close(key)
            case Act.FORGET:
                repository.finish(self._database, item, now=self._clock())
            case Act.WAIT:
                pass

    def _start(self, key: int, item: OpenIntegration) -> None:
        directory = self._settings.wandb / f"{item.job.id}-{item.row.position}"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = wandb_run.environment(os.environ, directory, item.wandb_api_key)
        process = FedProcess(self._command, directory=directory, environment=environment)
        process.say(wandb_run.opening(item.job, item.row.position, self._settings, directory))
        self._feeds[key] = _Feed(process)

    def _feed(self, key: int, item: OpenIntegration) -> None:
        feed = self._feeds[key]
        if feed.process.is_closed:  # the job goes on while its process is still ending
            self._close(key)
            return
        if feed.process.is_drained and not feed.is_ended:
            self._say_what_is_new(feed, item)
        if feed.process.push():
            feed.moved_at = time.monotonic()
        status = feed.process.poll()
        is_stuck = not (feed.process.is_drained and not feed.is_ended) and (
            time.monotonic() - feed.moved_at > _PATIENCE_S
        )
        if status == 0 and feed.is_ended:
            self._end(key, item)
        elif status is not None or is_stuck:
            self._fail(key, item)

    def _say_what_is_new(self, feed: _Feed, item: OpenIntegration) -> None:
        events = repository.metrics_after(self._database, item.job.id, feed.sent_seq)
        for event in events:
            feed.process.say(wandb_run.metrics(event))
            feed.sent_seq = event.seq or 0
            feed.moved_at = time.monotonic()
        if not events and item.job.status in TERMINAL_STATUSES:  # read before the events: there are no more to come
            feed.process.say(wandb_run.end(item.job))
            feed.is_ended = True
            feed.moved_at = time.monotonic()

    def _end(self, key: int, item: OpenIntegration) -> None:
        self._drop(key)
        if self._settings.wandb_mode == "online":  # what was sent is not needed here
            shutil.rmtree(self._settings.wandb / f"{item.job.id}-{item.row.position}", ignore_errors=True)
        repository.finish(self._database, item, now=self._clock())

    def _fail(self, key: int, item: OpenIntegration) -> None:
        self._drop(key)
        now, failures = self._clock(), item.row.failures + 1
        if failures >= _MAX_FAILURES:
            warning = "The metrics could not be passed on to Weights & Biases. They are all in the job's events."
            repository.finish(self._database, item, warning=warning, now=now)
            return
        first = "Weights & Biases could not be reached, or refused the project's key. The service tries again."
        repository.note_failure(
            self._database, item, not_before=now + 5 * 2**failures, warning=first if failures == 1 else None, now=now
        )

    def _close(self, key: int) -> None:
        """Let the process send what it has and end; a new one is told everything again."""
        feed = self._feeds[key]
        if not feed.process.is_closed:
            feed.process.close()
            feed.moved_at = time.monotonic()
        elif feed.process.poll() is not None or time.monotonic() - feed.moved_at > _PATIENCE_S:
            self._drop(key)

    def _drop(self, key: int) -> None:
        self._feeds.pop(key).process.kill()

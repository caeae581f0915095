"""A job on the terminal, as it goes."""

import shutil
import time
from collections.abc import Callable
from typing import TextIO

from sqlalchemy import Engine

from server.commands.failures import CommandFailed
from server.commands.progress import Progress, advance, outcome, render
from server.commands.repository import find_news
from server.vocabulary import TERMINAL_STATUSES, EventType, JobStatus


def watch(database: Engine, job_id: str, out: TextIO, *, pause: Callable[[], None]) -> JobStatus:
    """Show the job's messages and its progress until it ends; `pause` is called before each next look.

    Raises:
        CommandFailed: there is no such job.
    """
    screen = Screen(out)
    progress, seen = Progress(), 0
    while True:
        news = find_news(database, job_id, after_seq=seen)
        if news is None:
            raise CommandFailed(f"there is no job {job_id}")
        for event in news.events:
            seen = event.seq or seen
            if event.type is EventType.MESSAGE:
                screen.say(event.message)
        progress = advance(progress, news.job, news.events)
        if progress.step:
            screen.show(render(progress, now=time.time()))
        if news.job.status in TERMINAL_STATUSES:
            screen.keep()
            screen.say(outcome(news.job))
            return news.job.status
        pause()


class Screen:
    """Lines that stay, and below them, on a terminal, one that changes in place. Elsewhere each change is a line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._in_place = out.isatty()
        self._shown = ""

    def say(self, line: str) -> None:
        if self._in_place and self._shown:
            self._draw("")
            self._out.write("\r")
        self._out.write(line + "\n")
        if self._in_place and self._shown:
            self._draw(self._shown)
        self._out.flush()

    def show(self, line: str) -> None:
        if line == self._shown:
            return
        self._shown = line
        if self._in_place:
            self._draw(line)
        else:
            self._out.write(line + "\n")
        self._out.flush()

    def keep(self) -> None:
        """Let the changing line stay as it is."""
        if self._in_place and self._shown:
            self._out.write("\n")
        self._shown = ""

    def _draw(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1  # a full line would wrap
        self._out.write("\r" + line[:width].ljust(width))

"""The command `tunesmith`. Each branch imports what it needs: the server is slow to import."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from server.commands.arguments import read_arguments
from server.settings import Settings, SettingsInvalid, load_settings

_MODULES = {"import": "importing"}  # of commands; the others are named alike
_FAILED = 1
_MISUSED = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code. A failure the operator can do something about is one line on stderr."""
    asked = read_arguments(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character of a project's name
    try:
        settings = _read_settings(asked)
    except SettingsInvalid as error:
        return _complain(str(error), _MISUSED)
    if asked.command == "api":
        from server.api_process import run as run_api

        run_api(settings, asked.listen_fd, asked.place)
        return 0
    if asked.command == "worker":
        from server.worker import run as run_worker

        run_worker(settings)
        return 0
    return _run_for_operator(asked, settings)


def _read_settings(asked: argparse.Namespace) -> Settings:
    """Raises: SettingsInvalid."""
    given = {name: getattr(asked, name, None) for name in ("home", "host", "port")}
    try:
        return load_settings(os.environ, **given)
    except RuntimeError as error:  # pathlib's word for a user without a home
        raise SettingsInvalid(f"TUNESMITH_HOME: {error} Set it, or use --home.") from error


def _run_for_operator(asked: argparse.Namespace, settings: Settings) -> int:
    from server.commands.failures import EXPLAINED, explain

    try:
        code = _run(asked, settings)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except EXPLAINED as error:
        explanation = explain(error, settings)
        if explanation is None:
            raise
        return _complain(explanation, _FAILED)


def _run(asked: argparse.Namespace, settings: Settings) -> int:
    if asked.command == "serve":
        from server.serve import serve

        return serve(settings)
    module = import_module(f"server.commands.{_MODULES.get(asked.command, asked.command)}")
    code: int = module.run(asked, settings)
    return code


def _complain(message: str, code: int) -> int:
    print(f"tunesmith: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

"""The words of the command line. Imports the standard library alone: help comes at once."""

import argparse
import re
import time
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_MAX_PROJECT_NAME = 64


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse; what cannot be understood ends the process with code 2, `--help` and `--version` with 0."""
    parser = argparse.ArgumentParser(prog="tunesmith", description="A fine-tuning service for the OpenAI client.")
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument("--home", type=_directory, help="the home directory (TUNESMITH_HOME, or ~/.tunesmith)")

    serve = commands.add_parser("serve", parents=[home], help="run the service")
    serve.add_argument("--host", type=_host, help="the address to listen on (TUNESMITH_HOST, or 127.0.0.1)")
    serve.add_argument("--port", type=_port, help="the port to listen on (TUNESMITH_PORT, or 8000); 0 takes a free one")
    _add_keys(commands.add_parser("keys", help="make, list and revoke API keys"), home)
    _add_projects(commands.add_parser("projects", help="look after projects"), home)
    _add_jobs(commands.add_parser("jobs", help="look after fine-tuning jobs"), home)
    _add_models(commands.add_parser("models", help="list, export and import fine-tuned models"), home)
    _add_usage(commands.add_parser("usage", parents=[home], help="show the tokens used, by project and model"))
    _add_webhooks(commands.add_parser("webhooks", help="show what projects' receivers were told"), home)
    _add_completions(commands.add_parser("completions", help="make training files of stored chat completions"), home)
    commands.add_parser("engines", parents=[home], help="show how the engines stand, and the adapters they hold")
    _add_import(commands.add_parser("import", help="copy an account from elsewhere"), home)

    api = commands.add_parser("api")  # these two are started by `serve`, which hands them their settings
    api.add_argument("--listen-fd", type=int, required=True)
    api.add_argument("--place", type=int, default=0)  # among the API processes
    commands.add_parser("worker")
    return parser.parse_args(arguments)


def _add_keys(keys: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", parents=[home], help="make a key and show it, once")
    create.add_argument("--project", type=_project, default="default", help="its project, made if it is new (default)")
    create.add_argument("--admin", action="store_true", help="with administration rights")
    actions.add_parser("list", parents=[home], help="show every key by its ends")
    revoke = actions.add_parser("revoke", parents=[home], help="make a key invalid at once")
    revoke.add_argument("key_id", metavar="KEY_ID", help="as `tunesmith keys list` shows it")


def _add_projects(projects: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    actions = projects.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", parents=[home], help="show every project with its id")
    _add_limits(actions.add_parser("limits", parents=[home], help="show or set how much a project may ask"))
    wandb = actions.add_parser("wandb-key", parents=[home], help="set the project's API key of Weights & Biases")
    wandb.add_argument("project", type=_project, metavar="PROJECT", help="its name; the key is read from the input")
    wandb.add_argument("--remove", action="store_true", help="have none from now on")


def _add_limits(limits: argparse.ArgumentParser) -> None:
    limits.add_argument("project", type=_project, metavar="PROJECT", help="its name")
    for name, of_what in {
        "requests-per-minute": "requests to each base model",
        "tokens-per-minute": "tokens to and from each base model",
        "concurrent-answers": "answers under way at once",
        "stored-completion-days": "days that stored chat completions are kept",
        "stored-completion-mib": "MiB that stored chat completions may take; beyond it the oldest go",
    }.items():
        limits.add_argument(
            f"--{name}",
            type=_limit,
            default=argparse.SUPPRESS,  # not given: stays as it is
            metavar="N",
            help=f"{of_what}; `unlimited`, or `default` for the limit of the settings",
        )


def _add_usage(usage: argparse.ArgumentParser) -> None:
    when = "a date (2026-11-26), a time (2026-11-26T08:00), or how long ago (90m, 24h, 7d)"
    usage.add_argument("--since", type=_moment, default=None, metavar="WHEN", help=f"{when}; 30d")
    usage.add_argument("--until", type=_moment, default=None, metavar="WHEN", help="likewise; now")


def _add_jobs(jobs: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    actions = jobs.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", parents=[home], help="show the jobs of every project, newest first")
    on_one = {
        "watch": "follow a job with its losses until it ends; 0 only if it succeeded",
        "cancel": "cancel a job",
        "logs": "print what the job's trainer wrote",
    }
    for name, help_text in on_one.items():
        action = actions.add_parser(name, parents=[home], help=help_text)
        action.add_argument("job_id", metavar="JOB", help="as `tunesmith jobs list` shows it")
        if name == "logs":
            action.add_argument("--follow", action="store_true", help="go on until the job ends")


def _add_models(models: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    actions = models.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", parents=[home], help="show the fine-tuned models of every project, newest first")
    export = actions.add_parser("export", parents=[home], help="copy a model out of the home, with its manifest")
    export.add_argument("name", metavar="NAME", help="as `tunesmith models list` shows it")
    export.add_argument("--merged", action="store_true", help="added to its base model: a model of its own")
    export.add_argument(
        "--output", type=_directory, metavar="PATH", help="a directory to make, or a file that ends in .tar"
    )
    bring = actions.add_parser(
        "import",
        parents=[home],
        help="make a fine-tuned model of a PEFT adapter that was made elsewhere",
        epilog="The service must be running: its engine has to answer with the adapter before it gets its name.",
    )
    bring.add_argument(
        "source", type=_directory, metavar="DIR", help="what save_pretrained wrote; or a .tar or .zip of it"
    )
    bring.add_argument("--base", required=True, metavar="NAME", help="the base model that it was trained on")
    bring.add_argument(
        "--project", type=_project, default="default", help="the project that it will belong to (default)"
    )
    bring.add_argument("--suffix", metavar="TEXT", help="for its name, up to 64 characters")


def _add_completions(completions: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    actions = completions.add_subparsers(dest="action", metavar="ACTION", required=True)
    export = actions.add_parser("export", parents=[home], help="make a file of the completions that are found")
    export.add_argument("--project", type=_project, default="default", help="whose (default)")
    export.add_argument("--model", metavar="NAME", help="only of the model that was asked under this name")
    export.add_argument(
        "--metadata", type=_pair, action="append", default=[], metavar="KEY=VALUE", help="only with this pair; again"
    )
    when = "a date (2026-11-26), a time (2026-11-26T08:00), or how long ago (90m, 24h, 7d)"
    export.add_argument("--since", type=_moment, metavar="WHEN", help=f"only from then on: {when}")
    export.add_argument("--until", type=_moment, metavar="WHEN", help="only before then, likewise")
    export.add_argument("--all-choices", action="store_true", help="every choice of an answer, and not the first alone")
    export.add_argument(
        "--pii",
        choices=("off", "warn", "block", "redact"),
        help="what becomes of personal data and secrets (TUNESMITH_PII_POLICY, or warn)",
    )
    export.add_argument("--filename", metavar="NAME", help="of the file that is made")


def _add_webhooks(webhooks: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    actions = webhooks.add_subparsers(dest="action", metavar="ACTION", required=True)
    log = actions.add_parser("log", parents=[home], help="show the last deliveries of every project, newest first")
    log.add_argument("--status", choices=("pending", "delivered", "failed"), help="only those")


def _add_import(importing: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    sources = importing.add_subparsers(dest="source", metavar="SOURCE", required=True)
    openai = sources.add_parser(
        "openai",
        parents=[home],
        help="files, jobs with their events, checkpoints and results, stored completions and evals",
        epilog="Reads OPENAI_API_KEY, and OPENAI_BASE_URL, OPENAI_ORG_ID and OPENAI_PROJECT_ID where they are set. "
        "Run it again at any time: it goes on where it was, and copies nothing twice.",
    )
    openai.add_argument("--project", type=_project, default="default", help="the project to copy into (default)")
    openai.add_argument(
        "--archive", type=_directory, metavar="DIR", help="where stored completions and evals go (HOME/imports/PROJECT)"
    )
    openai.add_argument(
        "--rerun",
        type=_directory,
        metavar="TABLE",
        help='make the jobs that succeeded again on local bases, by a TOML file of lines like "gpt-4o-mini" = "BASE"',
    )
    openai.add_argument("--offline", action="store_true", help="ask the account for nothing; only --rerun what is here")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show the version and end")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        try:
            found = version("tunesmith")
        except PackageNotFoundError:
            found = "(not installed)"
        print(f"tunesmith {found}")
        parser.exit()


def _directory(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("must name a path")
    return Path(text).expanduser().absolute()


def _host(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must be an address; 0.0.0.0 is every one of this machine")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be between 0 and 65535, not {text!r}")
    return int(text)


def _limit(text: str) -> int | None:
    """None: the limit of the settings; 0: none."""
    words = {"default": None, "unlimited": 0}
    if text in words:
        return words[text]
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, `unlimited` or `default`, not {text!r}")
    return int(text)


def _moment(text: str) -> int:
    """Unix seconds. A date and a time are of this machine."""
    ago = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if ago:
        return int(time.time()) - int(ago[1]) * {"m": 60, "h": 3600, "d": 86400}[ago[2]]
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"must be like 2026-11-26, 2026-11-26T08:00 or 7d, not {text!r}") from None


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or len(key) > 64 or len(value) > 512:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, of at most 64 and 512 characters, not {text[:64]!r}")
    return key, value


def _project(text: str) -> str:
    name = text.strip()
    if not 0 < len(name) <= _MAX_PROJECT_NAME or not name.isprintable():
        raise argparse.ArgumentTypeError(f"must be 1 to {_MAX_PROJECT_NAME} printable characters")
    return name

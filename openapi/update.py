"""Write openapi.yaml, what our server serves. With --check: only say whether the committed one is up to date."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from server.app import create_rest_app
from server.bootstrap import build_services
from server.settings import Settings

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE / "openapi.yaml"
_HEAD = "# Written by `python -m openapi.update` from the routes; do not edit.\n"


def build_document() -> dict[str, Any]:
    """Describe every public operation."""
    with tempfile.TemporaryDirectory() as home:
        services = build_services(Settings(home=Path(home)))
        described = create_rest_app(services).openapi()
        services.database.dispose()
    for path, operations in yaml.safe_load((HERE / "chat.yaml").read_text("utf-8")).items():
        described["paths"][path] = described["paths"].get(path, {}) | operations
    return described


def render(described: dict[str, Any]) -> str:
    return _HEAD + yaml.dump(described, Dumper=_PlainDumper, sort_keys=False, width=120, allow_unicode=True)


def main(arguments: list[str] | None = None, *, document: Path = DOCUMENT) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if openapi.yaml is out of date")
    options = parser.parse_args(arguments)
    rendered = render(build_document())
    if document.is_file() and document.read_text("utf-8") == rendered:
        return 0
    if options.check:
        sys.stderr.write("openapi/openapi.yaml is out of date: run `python -m openapi.update` and commit it\n")
        return 1
    document.write_text(rendered, "utf-8")
    return 0


class _PlainDumper(yaml.SafeDumper):
    """Without anchors: what occurs twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # its signature is given
        return True


if __name__ == "__main__":
    sys.exit(main())

"""What can be set or called is documented; what must not be written down is nowhere."""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from server.fine_tuning.asked.hyperparameters import TunedHyperparameters
from server.fine_tuning.diagnoses.finding import Diagnosis
from server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs" / "operations.md"
NOT_SETTINGS = {"TUNESMITH_VENV", "TUNESMITH_DEVICE"}  # of the installation
UNFINISHED = re.compile("TO" + "DO|FIX" + "ME|XX" + "X\\b")
THIS_MACHINE = re.compile(r"/(work|root|home/[a-z]+)/|/opt/(wheels|pypi)|file:///")
PACKAGE_INDEX = re.compile(r"https?://[^\s\"']*/(simple|whl|wheels)\b|index-url[ =]+https?:")
HIDDEN_TESTS = {"skip", "skipif", "xfail", "importorskip"}


def test_every_setting_is_in_the_operators_guide() -> None:
    guide = OPERATIONS.read_text("utf-8")

    assert [name for name in _variables() if f"`{name}`" not in guide] == []


def test_the_operators_guide_names_no_setting_that_is_gone() -> None:
    named = set(re.findall(r"TUNESMITH_[A-Z0-9_]+[A-Z0-9]", OPERATIONS.read_text("utf-8")))

    assert named - set(_variables()) - NOT_SETTINGS == set()


def test_every_route_of_the_committed_document_is_in_the_api_guide() -> None:
    guide = (ROOT / "docs" / "api.md").read_text("utf-8")
    document = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text("utf-8"))
    routes = [f"`{method.upper()} {path}`" for path, methods in document["paths"].items() for method in methods]

    assert routes
    assert [route for route in routes if route not in guide] == []


def test_every_diagnosis_is_explained() -> None:
    guide = (ROOT / "docs" / "diagnoses.md").read_text("utf-8")

    assert [name.value for name in Diagnosis if f"| `{name.value}` |" not in guide] == []


def test_every_hyperparameter_has_a_row_of_the_table() -> None:
    table = (ROOT / "docs" / "hyperparameters.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)

    assert sorted(rows) == sorted(TunedHyperparameters.model_fields)


def test_every_decision_is_listed_in_the_map() -> None:
    overview = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert decisions
    assert [path.name for path in decisions if f"docs/decisions/{path.name}" not in overview] == []


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/operations.md",
        "docs/api.md",
        "docs/batches.md",
        "docs/data.md",
        "docs/coming-from-openai.md",
        "docs/diagnoses.md",
        "docs/distillation.md",
        "docs/hyperparameters.md",
        "docs/webhooks.md",
    ],
)
def test_every_link_between_documents_leads_somewhere(document: str) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text("utf-8"))

    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_every_verb_of_the_makefile_is_in_the_readme() -> None:
    verbs = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    readme = (ROOT / "README.md").read_text("utf-8")

    assert [verb for verb in verbs if verb != "help" and f"make {verb}" not in readme] == []


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        (UNFINISHED, set()),
        (THIS_MACHINE, {"tests/architecture/test_documented.py"}),
        (PACKAGE_INDEX, {"scripts/install.sh"}),
    ],
    ids=["unfinished work", "a path of one machine", "the address of a package index"],
)
def test_nothing_in_the_repository_holds(pattern: re.Pattern[str], allowed: set[str]) -> None:
    found = {
        f"{path}: {match[0]}" for path, text in _texts() if path not in allowed for match in pattern.finditer(text)
    }

    assert found == set()


def test_every_test_that_may_not_run_says_why() -> None:
    silent = {
        f"{path}:{line}"
        for path, text in _texts()
        if path.startswith("tests/") and path.endswith(".py")
        for line in skips_without_a_reason(text)
    }

    assert silent == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("@pytest.mark.skip\ndef test(): ...", [1]),
        ("@pytest.mark.skipif(True)\ndef test(): ...", [1]),
        ("@pytest.mark.skipif(True, reason='no GPU here')\ndef test(): ...", []),
        ("pytest.skip('no GPU here')", []),
        ("pytest.skip()", [1]),
    ],
)
def test_a_skip_without_a_reason_is_noticed(source: str, expected: list[int]) -> None:
    assert list(skips_without_a_reason(source)) == expected


def skips_without_a_reason(source: str) -> Iterator[int]:
    tree = ast.parse(source)
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in HIDDEN_TESTS and _is_pytest(node.value):
            call = called.get(id(node))
            spoken = call is not None and (
                any(keyword.arg == "reason" for keyword in call.keywords) or (node.attr == "skip" and call.args)
            )
            if not spoken:
                yield node.lineno


def _is_pytest(node: ast.expr) -> bool:
    return ast.unparse(node) in {"pytest", "pytest.mark"}


def _variables() -> list[str]:
    return ["TUNESMITH_" + field.name.upper() for field in fields(Settings)]


def _texts() -> Iterator[tuple[str, str]]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listing.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix not in {".safetensors", ".jsonl"}:
            try:
                yield name, path.read_text("utf-8")
            except UnicodeDecodeError:
                continue

"""The three package names are ours alone, the light part stays light, and what is imported is declared and pinned."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import inference
import server
import trainer

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "vllm", "pandas", "numpy", "matplotlib")
DEVICES = ("cpu", "cuda")
EXTRAS = {  # what a directory may import, besides the base dependencies
    "server": (),
    "inference": (),
    "trainer/contract": (),
    "trainer": ("trainer",),
    "examples": ("trainer", "test"),
    "benchmarks": ("trainer", "test"),
    "openapi": ("test",),
    "tests": ("trainer", "test"),
}


@pytest.mark.parametrize("package", [server, trainer, inference], ids=lambda package: package.__name__)
def test_the_package_comes_from_this_tree_and_nobody_else_has_its_name(package: object) -> None:
    name = package.__name__  # type: ignore[attr-defined]
    owners = importlib.metadata.packages_distributions().get(name, [])

    assert Path(package.__file__).is_relative_to(ROOT)  # type: ignore[attr-defined]
    assert set(owners) <= {"tunesmith"}


def test_server_and_inference_start_without_an_ml_library() -> None:
    modules = [_module_name(path) for top in ("server", "inference", "trainer/contract") for path in _sources(top)]
    modules = [name for name in modules if ".migrations." not in name]  # these run inside alembic alone
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_the_package_index_would_refuse_an_upload() -> None:
    assert "Private :: Do Not Upload" in PROJECT["classifiers"]


@pytest.mark.parametrize("directory", [name for name in EXTRAS if (ROOT / name).is_dir()])
def test_every_import_is_declared(directory: str) -> None:
    declared = {_requirement_name(line) for line in PROJECT["dependencies"]}
    for extra in EXTRAS[directory]:
        declared |= {_requirement_name(line) for line in PROJECT["optional-dependencies"][extra]}
    owners = importlib.metadata.packages_distributions()

    undeclared = {
        f"{path.relative_to(ROOT)}: {top}"
        for path in _sources(directory)
        for top in _third_party_imports(path)
        if not declared & {_normal(owner) for owner in owners.get(top, [top])}
    }

    assert undeclared == set()


@pytest.mark.parametrize("device", DEVICES)
def test_every_declared_requirement_is_pinned_under_its_part(device: str) -> None:
    pinned = _pinned(device)
    extras = {"trainer": "trainer", "inference": "inference-cpu" if device == "cpu" else "inference"}
    wanted = {("server", line) for line in PROJECT["dependencies"]}
    wanted |= {(part, line) for part, extra in extras.items() for line in PROJECT["optional-dependencies"][extra]}
    if device == "cpu":
        wanted = {(part, line) for part, line in wanted if not line.startswith("torch=")}  # fixed by its version alone

    missing = {
        (part, line) for part, line in wanted if not {part, "server"} & set(pinned.get(_requirement_name(line), ()))
    }
    untested = {line for line in PROJECT["optional-dependencies"]["test"] if _requirement_name(line) not in pinned}

    assert (missing, untested) == (set(), set())


@pytest.mark.parametrize("device", DEVICES)
def test_every_pin_has_hashes_and_no_address(device: str) -> None:
    text = (ROOT / f"constraints-{device}.txt").read_text("utf-8")
    entries = [entry for entry in re.split(r"\n(?=[a-z0-9#])", text) if "==" in entry]

    assert len(entries) > 100
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert "--index" not in text


def test_the_server_part_is_the_same_on_every_machine_and_has_no_ml_library() -> None:
    cpu, cuda = ({line for line, parts in _pinned(device, "line").items() if "server" in parts} for device in DEVICES)

    assert cpu == cuda
    heavy = set(HEAVY) - {"matplotlib", "numpy"}  # they draw, and are imported for that alone
    assert not {line.split("==")[0] for line in cpu} & heavy


def _pinned(device: str, by: str = "name") -> dict[str, tuple[str, ...]]:
    """The parts that need each package of a constraints file, by its name or by its name and version."""
    found: dict[str, tuple[str, ...]] = {}
    parts: tuple[str, ...] = ()
    for line in (ROOT / f"constraints-{device}.txt").read_text("utf-8").splitlines():
        if line.startswith("# ["):
            parts = tuple(line[3:-1].split())
        elif "==" in line:
            pin = line.removesuffix(" \\")
            found[pin if by == "line" else re.split(r"\[|==", pin)[0]] = parts
    return found


def _sources(directory: str) -> list[Path]:
    paths = sorted((ROOT / directory).rglob("*.py"))
    return [path for path in paths if directory != "trainer" or "contract" not in path.parts]


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _third_party_imports(path: Path) -> Iterator[str]:
    ours = {ours.stem for place in (ROOT, ROOT / "examples", ROOT / "tests") for ours in place.iterdir()}
    ours |= {neighbour.stem for parent in path.relative_to(ROOT).parents for neighbour in (ROOT / parent).iterdir()}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for top in {name.split(".")[0] for name in names}:
            if top not in sys.stdlib_module_names and top not in ours:
                yield top


def _requirement_name(line: str) -> str:
    return _normal(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

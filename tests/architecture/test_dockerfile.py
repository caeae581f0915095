"""The image files say what they should; they are read here, not built."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
TARGETS = re.findall(r"^FROM \S+ AS (\S+)$", "\n".join(LINES), flags=re.MULTILINE)


def test_each_process_has_an_image_and_the_last_one_has_them_all() -> None:
    assert {"server", "trainer", "inference"} <= set(TARGETS)
    assert TARGETS[-1] == "all"


def test_everything_is_installed_by_the_script_of_the_makefile() -> None:
    installs = [line for line in LINES if "scripts/install.sh" in line and line.startswith("RUN")]

    assert {part for line in installs for part in line.split("install.sh")[1].split()} == {
        "server",
        "trainer",
        "inference",
    }
    assert [line for line in LINES if re.search(r"\b(pip|uv|conda) ", line)] == []


def test_no_image_runs_as_root() -> None:
    for target in ("server", "trainer", "inference", "all"):
        assert _instructions(target, "USER") == ["USER tunesmith"], target


def test_the_service_is_reachable_watched_and_keeps_its_data() -> None:
    for instruction in ("EXPOSE", "VOLUME", "HEALTHCHECK"):
        assert _instructions("all", instruction), instruction


def test_the_build_context_leaves_installed_and_private_things_out() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()

    assert {".git", ".venv", ".tunesmith*", "**/__pycache__"} <= set(ignored)


def _instructions(target: str, name: str) -> list[str]:
    """Those of a target and of the targets it is built from."""
    starts = {line.split()[-1]: number for number, line in enumerate(LINES) if line.startswith("FROM ")}
    start = starts[target]
    block = []
    for line in LINES[start + 1 :]:
        if line.startswith("FROM "):
            break
        block.append(line)
    parent = LINES[start].split()[1]
    inherited = _instructions(parent, name) if parent in starts else []
    return [line for line in block if line.startswith(f"{name} ")] or inherited

"""The import contracts of pyproject.toml hold, and each of them catches what it is for."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = (
    "import sys; from importlinter.cli import lint_imports; "
    "sys.exit(lint_imports(no_cache=True, limit_to_contracts={}))"
)

PLANTS = [
    ("processes", "inference/sse.py", "import server.errors"),
    ("processes", "inference/sse.py", "import trainer.contract.spec"),
    ("processes", "trainer/failures.py", "import inference.engine"),
    ("trainer-seam", "server/errors.py", "import trainer.failures"),
    ("trainer-layers", "trainer/contract/spec.py", "import trainer.failures"),
    ("trainer-layers", "trainer/unplaced.py", ""),
    ("no-ml-library", "server/errors.py", "import torch"),
    ("no-ml-library", "inference/engine.py", "def late():\n    import vllm"),
    ("no-ml-library", "trainer/contract/spec.py", "from transformers import AutoTokenizer"),
    ("guard-is-alone", "server/guard.py", "import pydantic"),
    ("guard-is-alone", "server/guard.py", "import server.ids"),
    ("ports", "server/files/service.py", "import server.storage.local_directory"),
    ("ports", "server/fine_tuning/service.py", "import server.launchers.local_process"),
    ("ports", "server/models/service.py", "import inference.vllm.client"),
    ("system-session", "server/files/service.py", "import server.db.system_session"),
    ("server-layers", "server/errors.py", "import server.auth.caller"),
    ("server-layers", "server/db/tables/__init__.py", "import server.files.service"),
    ("server-layers", "server/unplaced.py", ""),
    ("life-of-a-job", "server/fine_tuning/publishing/stage.py", "import server.fine_tuning.running.stage"),
    ("diagnoses", "server/fine_tuning/diagnoses/memorised.py", "import server.fine_tuning.diagnoses.overfitting"),
    ("diagnoses", "server/fine_tuning/diagnoses/unplaced.py", ""),
    ("diagnoses-are-pure", "server/fine_tuning/diagnoses/course.py", "import server.db.tables"),
    ("receivers", "server/webhooks/outside/sending.py", "import server.db.tables"),
    ("slices", "server/files/schemas.py", "import server.files.service"),
]


def test_every_contract_is_kept() -> None:
    result = _lint(ROOT, contracts=())

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("contract", "module", "line"), PLANTS)
def test_a_forbidden_import_breaks_its_contract(contract: str, module: str, line: str, tmp_path: Path) -> None:
    for package in ("server", "trainer", "inference"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")

    result = _lint(tmp_path, contracts=(contract,))

    assert result.returncode == 1, result.stdout
    assert "0 kept, 1 broken" in result.stdout


def test_every_contract_has_a_planted_import() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]

    assert {contract["id"] for contract in contracts} == {contract for contract, _, _ in PLANTS}


def _lint(directory: Path, contracts: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT.format(contracts)], cwd=directory, capture_output=True, text=True, check=False
    )

"""One tiny base model for all tests of the trainer."""

import sys
from pathlib import Path

import pytest
from trainer_runs import make_base

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))  # the quickstart's task


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("tiny") / "base")

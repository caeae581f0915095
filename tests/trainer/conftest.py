"""One tiny base model for all tests of the trainer."""

from pathlib import Path

import pytest
from trainer_runs import make_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("tiny") / "base")

"""Which checkpoint may be resumed from."""

from pathlib import Path

import pytest

from trainer.contract.checkpoint import find_newest_checkpoint, is_complete, list_checkpoints, publish_directory, seal


def make_checkpoint(checkpoints: Path, step: int) -> Path:
    staged = checkpoints / ".staged"
    (staged / "adapter").mkdir(parents=True)
    (staged / "state.pt").write_bytes(b"state")
    (staged / "adapter" / "weights").write_bytes(b"weights")
    seal(staged)
    final = checkpoints / f"step_{step:06d}"
    publish_directory(staged, final)
    return final


def test_a_sealed_directory_is_complete(tmp_path: Path) -> None:
    assert is_complete(make_checkpoint(tmp_path, 3))


@pytest.mark.parametrize("name", ["state.pt", "adapter/weights", "manifest.json"])
@pytest.mark.parametrize("damage", ["delete", "cut", "flip", "empty"])
def test_a_damaged_directory_is_not_complete(tmp_path: Path, name: str, damage: str) -> None:
    path = make_checkpoint(tmp_path, 3) / name
    data = path.read_bytes()
    match damage:
        case "delete":
            path.unlink()
        case "cut":
            path.write_bytes(data[:-3])
        case "flip":
            path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        case "empty":
            path.write_bytes(b"")
    assert not is_complete(tmp_path / "step_000003")


def test_the_newest_complete_checkpoint_is_found_behind_damaged_and_staged_ones(tmp_path: Path) -> None:
    for step in (2, 900_000, 1_000_000):
        make_checkpoint(tmp_path, step)
    (tmp_path / "step_1000000" / "state.pt").unlink()
    (tmp_path / ".staged-step_2000000").mkdir()
    (tmp_path / "step_3000000").mkdir()
    assert find_newest_checkpoint(tmp_path) == tmp_path / "step_900000"
    assert [path.name for path in list_checkpoints(tmp_path)][:2] == ["step_000002", "step_900000"]


def test_no_directory_has_no_checkpoint(tmp_path: Path) -> None:
    assert find_newest_checkpoint(tmp_path / "missing") is None

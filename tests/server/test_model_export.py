"""`tunesmith models`, against a home of its own; merging is in tests/acceptance/test_taken_away.py."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.__main__ import main
from server.bootstrap import Services, build_services
from server.commands.failures import CommandFailed
from server.commands.staging import staged_beside
from server.db.system_session import system_session
from server.db.tables import FineTunedModelRow
from server.ids import ProjectId
from server.models.archive import open_archive, safe_name
from server.record.manifest import list_files
from tests.adapter_files import write_adapter
from tests.factories import make_model
from tests.records import make_manifest
from tests.running_api import make_settings


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(make_settings(tmp_path / "home"))
    yield services
    services.database.dispose()


@pytest.fixture
def project_id(services: Services) -> ProjectId:
    return services.authenticator.default.project_id


@pytest.fixture
def model(services: Services, project_id: ProjectId) -> FineTunedModelRow:
    row = make_model(services, project_id)
    directory = write_adapter(services.settings.adapters / row.directory)
    (directory / "manifest.json").write_bytes(make_manifest(name=row.name, files=list_files(directory)).dump())
    return row


def run(services: Services, *words: str) -> int:
    return main([*words, "--home", str(services.settings.home)])


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_models_of_every_project_are_listed_newest_first(
    services: Services, project_id: ProjectId, capsys: pytest.CaptureFixture[str]
) -> None:
    final, checkpoint = make_model(services, project_id), make_model(services, project_id, step=10)
    gone = make_model(services, project_id)
    with system_session(services.database, write=True) as session:
        session.get(FineTunedModelRow, gone.name).deleted_at = 1  # type: ignore[union-attr]  # it is there

    assert run(services, "models", "list") == 0

    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "PROJECT", "BASE", "CHECKPOINT", "CREATED"]
    assert first.split()[:4] == [checkpoint.name, "default", "tunesmith-demo", "10"]
    assert second.split()[:4] == [final.name, "default", "tunesmith-demo", "-"]


def test_a_model_is_exported_as_the_directory_it_is(
    services: Services,
    model: FineTunedModelRow,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    assert run(services, "models", "export", model.name) == 0

    output = place / safe_name(model.name)
    assert capsys.readouterr().out == f"{output}\n"
    assert contents(output) == contents(services.settings.adapters / model.directory)
    assert list(place.iterdir()) == [output]


def test_a_model_is_exported_as_the_tar_that_the_api_gives(
    services: Services, model: FineTunedModelRow, tmp_path: Path
) -> None:
    output = tmp_path / "model.tar"
    assert run(services, "models", "export", model.name, "--output", str(output)) == 0

    directory, top = services.settings.adapters / model.directory, safe_name(model.name)
    assert output.read_bytes() == b"".join(open_archive(directory, top=top, created_at=model.created_at).chunks)
    with tarfile.open(output) as tar:
        assert f"{top}/manifest.json" in tar.getnames()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "model.tar"]


def test_a_model_of_an_older_version_is_exported_and_said_to_have_no_manifest(
    services: Services, model: FineTunedModelRow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (services.settings.adapters / model.directory / "manifest.json").unlink()
    assert run(services, "models", "export", model.name, "--output", str(tmp_path / "out")) == 0

    assert "without a manifest" in capsys.readouterr().err
    assert sorted(contents(tmp_path / "out")) == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_nothing_is_overwritten(
    services: Services, model: FineTunedModelRow, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).mkdir()
    assert run(services, "models", "export", model.name, "--output", str(tmp_path / name)) == 1

    assert "is there already" in capsys.readouterr().err
    assert list((tmp_path / name).iterdir()) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["ft:tunesmith-demo:personal::00000000"], "there is no fine-tuned model"),
        (["tunesmith-demo"], "there is no fine-tuned model"),
        (["MODEL", "--output", "/nowhere/at/all"], "there is no directory /nowhere/at"),
        (["MODEL", "--merged", "--output", "PLACE/model.tar"], "is exported as a directory"),
    ],
)
def test_what_cannot_be_exported(
    services: Services,
    model: FineTunedModelRow,
    tmp_path: Path,
    words: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = [word.replace("MODEL", model.name).replace("PLACE", str(tmp_path)) for word in words]
    assert run(services, "models", "export", *asked) == 1

    assert complaint in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    ("file", "complaint"),
    [("adapter_model.safetensors", "are damaged: adapter_model.safetensors"), ("manifest.json", "manifest is damaged")],
)
def test_a_damaged_model_is_not_exported(
    services: Services,
    model: FineTunedModelRow,
    tmp_path: Path,
    file: str,
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = services.settings.adapters / model.directory / file
    os.truncate(path, path.stat().st_size - 3)
    assert run(services, "models", "export", model.name, "--output", str(tmp_path / "out")) == 1

    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_files_that_are_gone_are_said_to_be_gone(
    services: Services, project_id: ProjectId, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = make_model(services, project_id)
    (services.settings.adapters / row.directory).rmdir()
    assert run(services, "models", "export", row.name, "--output", str(tmp_path / name)) == 1

    assert "was the model deleted?" in capsys.readouterr().err


def test_what_a_killed_export_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".out.exporting"
    (left / "adapter").mkdir(parents=True)
    (left / "adapter" / "weights").write_text("half of it")

    with staged_beside(tmp_path / "out") as work:
        assert list(work.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_two_exports_to_one_place_do_not_meet(tmp_path: Path) -> None:
    with staged_beside(tmp_path / "out") as work:
        (work / "weights").write_text("of the first")
        with pytest.raises(CommandFailed, match="another export"), staged_beside(tmp_path / "out"):
            raise AssertionError("the place was given twice")
        assert (work / "weights").read_text() == "of the first"


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    (tmp_path / ".out.exporting").symlink_to(tmp_path / "precious")

    with pytest.raises(OSError, match=r"Not a directory|symbolic"), staged_beside(tmp_path / "out"):
        raise AssertionError("the link was followed")
    assert (tmp_path / "precious" / "file").read_text() == "kept"

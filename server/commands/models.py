"""`tunesmith models`."""

import os
import shutil
import sys
from argparse import Namespace
from pathlib import Path

from sqlalchemy import Engine

from server.base_models import load_base_models
from server.commands import repository
from server.commands.adapter_import import import_adapter
from server.commands.failures import CommandFailed
from server.commands.home import opened
from server.commands.merging import merge
from server.commands.staging import require_free, staged_beside
from server.commands.table import local_time, table
from server.db.tables import FineTunedModelRow
from server.models.archive import open_archive, safe_name
from server.record.imported import AdapterManifest, read_adapter_manifest
from server.record.manifest import find_damaged
from server.settings import Settings
from trainer.contract.checkpoint import publish_directory

_TAR = ".tar"


def run(asked: Namespace, settings: Settings) -> int:
    """Raises: CommandFailed."""
    with opened(settings) as database:
        if asked.action == "list":
            _list(database)
            return 0
        if asked.action == "import":
            import_adapter(asked, settings, database)
            return 0
        model = repository.find_model(database, asked.name)
    if model is None:
        raise CommandFailed(f"there is no fine-tuned model {asked.name}; `tunesmith models list` shows those there are")
    if asked.merged and model.is_full:
        raise CommandFailed(f"{model.name} is a whole model already; export it without --merged")
    suffix = "-merged" if asked.merged else ""
    output = asked.output or Path.cwd() / (safe_name(model.name) + suffix)
    if asked.merged and output.suffix == _TAR:
        raise CommandFailed("a merged model is exported as a directory; name one with --output")
    try:
        _export(settings, model, output, merged=asked.merged)
    except FileNotFoundError as error:
        if (settings.adapters / model.directory).exists():
            raise
        raise CommandFailed(f"the files of {model.name} are not there; was the model deleted?") from error
    return 0


def _list(database: Engine) -> None:
    rows = [
        (
            listing.model.name,
            listing.project,
            listing.model.base_model,
            "" if listing.model.step is None else str(listing.model.step),
            local_time(listing.model.created_at),
        )
        for listing in repository.list_models(database)
    ]
    print(table(("NAME", "PROJECT", "BASE", "CHECKPOINT", "CREATED"), rows))


def _export(settings: Settings, model: FineTunedModelRow, output: Path, *, merged: bool) -> None:
    with staged_beside(output) as work:
        if output.suffix == _TAR:
            _write_tar(settings, model, work / "archive", output)
        else:
            adapter = work / "adapter"
            manifest = _copy(settings.adapters / model.directory, adapter)
            result = adapter
            if merged:
                base_models = load_base_models(settings.base_models_file)
                result = merge(settings, base_models, model, manifest, work)
            require_free(output)
            publish_directory(result, output)
    print(output)


def _copy(directory: Path, destination: Path) -> AdapterManifest | None:
    """Copy an adapter's files, and see that they are what its manifest says.

    Raises:
        CommandFailed: they are not.
    """
    destination.mkdir()
    for path in sorted(directory.iterdir()):
        shutil.copyfile(path, destination / path.name)
    try:
        manifest = read_adapter_manifest(destination)
    except ValueError as error:
        raise CommandFailed("the model's manifest is damaged; restore its directory from a copy") from error
    if manifest is None:
        print("this model was published by an older version, without a manifest", file=sys.stderr)
        return None
    damaged = find_damaged(destination, manifest.files)
    if damaged:
        raise CommandFailed(f"files of the model are damaged: {', '.join(damaged)}; restore them from a copy")
    return manifest


def _write_tar(settings: Settings, model: FineTunedModelRow, staged: Path, output: Path) -> None:
    archive = open_archive(settings.adapters / model.directory, top=safe_name(model.name), created_at=model.created_at)
    with staged.open("wb") as file:
        for chunk in archive.chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    require_free(output)
    staged.rename(output)

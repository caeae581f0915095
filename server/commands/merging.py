"""A merge by the trainer, and what is written beside the model that comes of it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from server.base_models import BaseModelEntry, BaseModels
from server.commands.failures import CommandFailed
from server.db.tables import FineTunedModelRow
from server.fine_tuning.running.training_spec import source_of
from server.guard import LIFELINE_VARIABLE
from server.launchers.environment import without_secrets
from server.record.base_identity import identify
from server.record.hashes import FileHashes
from server.record.imported import AdapterManifest
from server.record.manifest import MANIFEST, list_files, record_base
from server.record.merged import describe_merged, has_base_changed, render_merged_card
from server.record.model_card import MODEL_CARD
from server.settings import Settings
from trainer.contract.merge import MergeReport, MergeSpec
from trainer.contract.run_directory import RunDirectory

_TOLERANCE = 1e-4  # of a logit, in 32-bit floats
_LINES_SHOWN = 20  # of the log of a trainer that died


def merge(
    settings: Settings, base_models: BaseModels, model: FineTunedModelRow, manifest: AdapterManifest | None, work: Path
) -> Path:
    """Merge the adapter that lies in `work`; give the directory of the merged model, complete but for its name.

    Raises:
        CommandFailed: the base is not offered any more, or the merged model does not do what the adapter does.
    """
    entry = base_models.find(model.base_model)
    if entry is None:
        raise CommandFailed(
            f"the base model {model.base_model} is not in {settings.base_models_file} any more, and merging needs it"
        )
    run = RunDirectory(work)
    run.write_merge_spec(
        MergeSpec(
            base_model=source_of(entry),
            adapter=work / "adapter",
            tolerance=_TOLERANCE,
            threads=settings.trainer_threads,
        )
    )
    print("merging; the base model is loaded twice, in 32-bit floats", file=sys.stderr)
    report = _run(run)
    _add_record(run.merged, model.name, entry, manifest, report, FileHashes(settings.hashes))
    return run.merged


def _run(run: RunDirectory) -> MergeReport:
    """Raises: CommandFailed."""
    code = _run_guarded([sys.executable, "-m", "trainer", "merge", str(run.root)], run)
    outcome = run.read_merge_outcome()
    if outcome is None:
        sys.stderr.writelines(run.log.read_text(errors="replace").splitlines(keepends=True)[-_LINES_SHOWN:])
        raise CommandFailed(
            f"merging ended with exit code {code} and no report; it needs up to 10 bytes of memory for each of the "
            "base's parameters"
        )
    if outcome.report is None:
        raise CommandFailed("it could not be merged" if outcome.failure is None else outcome.failure.message)
    return outcome.report


def _run_guarded(command: list[str], run: RunDirectory) -> int:
    """Run to the end; however this process ends, the command does not outlive it."""
    lifeline, held = os.pipe()
    try:
        with run.log.open("wb") as log:
            guard = subprocess.Popen(
                [sys.executable, "-m", "server.guard", str(run.root), "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lifeline,),
                env={**without_secrets(os.environ), LIFELINE_VARIABLE: str(lifeline)},
            )
        try:
            return guard.wait()
        except BaseException:
            guard.send_signal(signal.SIGUSR1)
            guard.wait()
            raise
    finally:
        os.close(lifeline)
        os.close(held)


def _add_record(
    directory: Path,
    name: str,
    entry: BaseModelEntry,
    adapter: AdapterManifest | None,
    report: MergeReport,
    hashes: FileHashes,
) -> None:
    base = identify(entry, hashes)
    described = record_base(entry.name, base, report.parameters)
    if has_base_changed(described, adapter):
        print("the base model has changed since the adapter was trained on it", file=sys.stderr)
    for path in base.legal_files:
        shutil.copyfile(path, directory / path.name)
    manifest = describe_merged(name, described, adapter, report, tolerance=_TOLERANCE)
    card = render_merged_card(manifest, [path.name for path in base.legal_files])
    (directory / MODEL_CARD).write_text(card, encoding="utf-8")
    (directory / MANIFEST).write_bytes(manifest.model_copy(update={"files": list_files(directory)}).dump())

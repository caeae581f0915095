"""What is written beside an adapter that was imported: its manifest, its model card, its base's licence."""

import shutil
from pathlib import Path

from server.base_models import BaseModelEntry
from server.db.tables import ModelImportRow
from server.record.base_identity import BaseIdentity, identify
from server.record.hashes import FileHashes
from server.record.imported import ImportedManifest, known_limits_of_imported, render_imported_card
from server.record.manifest import MANIFEST, list_files, record_base
from server.record.model_card import MODEL_CARD
from trainer.contract.examine import ExamineReport


def add_imported_record(
    staged: Path, row: ModelImportRow, base: BaseModelEntry, report: ExamineReport, hashes: FileHashes
) -> None:
    """Complete the directory; the manifest comes last."""
    identity = _identify(base, hashes)
    for path in identity.legal_files:
        shutil.copyfile(path, staged / path.name)
    described = record_base(base.name, identity, report.base_parameters)
    manifest = ImportedManifest(
        name=row.model_name,
        created_at=row.created_at,
        import_id=row.id,
        base_model=described,
        rank=row.rank,
        parameters=report.adapter_parameters,
        served_in=base.serve_quantized,
        base_gap=report.base_gap,
        known_limits=known_limits_of_imported(described, base.serve_quantized),
        files={},
    )
    card = render_imported_card(manifest, [path.name for path in identity.legal_files])
    (staged / MODEL_CARD).write_text(card, encoding="utf-8")
    (staged / MANIFEST).write_bytes(manifest.model_copy(update={"files": list_files(staged)}).dump())


def _identify(base: BaseModelEntry, hashes: FileHashes) -> BaseIdentity:
    """Nothing is known of a base whose files the operator has taken away since."""
    try:
        return identify(base, hashes)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return BaseIdentity(None, None)

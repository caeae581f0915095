"""What lies beside an adapter that was made elsewhere, and beside a model that it was merged into."""

from pathlib import Path

import pytest

from server.record.imported import (
    ImportedManifest,
    known_limits_of_imported,
    read_adapter_manifest,
    render_imported_card,
)
from server.record.manifest import MANIFEST, BaseModelRecord, Manifest
from server.record.merged import MergedManifest, describe_merged, has_base_changed, render_merged_card
from tests.records import BASE, make_manifest
from trainer.contract.merge import MergeReport

UNKNOWN = BASE.model_copy(update={"license": "unknown", "revision": "other"})
MERGED = MergeReport(
    dtype="bfloat16",
    parameters=1_000,
    n_probe_tokens=256,
    adapter_effect=1.0,
    logit_error=1e-6,
    rounded_logit_error=0.1,
    rounded_same_choice=0.99,
)


def make_imported(base: BaseModelRecord = BASE) -> ImportedManifest:
    return ImportedManifest(
        name="ft:tunesmith-demo:personal:desk:AbCd1234",
        created_at=1_800_000_000,
        import_id="mdlimport-1",
        base_model=base,
        rank=8,
        parameters=150_000,
        base_gap=1.25,
        known_limits=known_limits_of_imported(base),
        files={},
    )


@pytest.mark.parametrize("manifest", [make_manifest(), make_imported()], ids=["trained", "imported"])
def test_a_manifest_is_read_as_what_it_is(tmp_path: Path, manifest: Manifest | ImportedManifest) -> None:
    (tmp_path / MANIFEST).write_bytes(manifest.dump())

    assert read_adapter_manifest(tmp_path) == manifest


def test_an_adapter_of_an_older_version_has_none_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    assert read_adapter_manifest(tmp_path) is None
    (tmp_path / MANIFEST).write_text('{"origin": "elsewhere"}')
    with pytest.raises(ValueError, match="validation error"):
        read_adapter_manifest(tmp_path)


def test_the_card_says_what_is_not_known_and_how_to_use_it() -> None:
    card = render_imported_card(make_imported(UNKNOWN), ["LICENSE"])

    for words in ("made elsewhere", "150,000", "PeftModel.from_pretrained", "licence is not known", "`LICENSE`"):
        assert words in card
    assert card.startswith("---\nbase_model:")


def test_a_model_that_it_was_merged_into_carries_its_record_and_limits() -> None:
    imported = make_imported()
    merged = describe_merged(imported.name, UNKNOWN, imported, MERGED, tolerance=1e-4)

    assert MergedManifest.model_validate_json(merged.dump()).adapter == imported
    assert has_base_changed(UNKNOWN, imported)
    assert "made elsewhere" in render_merged_card(merged)

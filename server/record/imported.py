"""The record of an adapter that was made elsewhere: `manifest.json` and model card, of what is known of it here."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from server.record.manifest import MANIFEST_VERSION, BaseModelRecord, FileRecord, Manifest, Written, read_as
from server.record.model_card import describe_base, front_matter_of_adapter, how_to_use, licence_section, table

_TOY_PARAMETERS = 100_000_000


class ImportedManifest(Written):
    version: Literal[1] = MANIFEST_VERSION
    origin: Literal["imported"] = "imported"
    name: str  # the model's
    created_at: int  # unix seconds
    import_id: str
    base_model: BaseModelRecord  # that it was imported for; what it was trained on is not known
    rank: int  # the largest of a module
    parameters: int
    served_in: str | None = None  # how the base is quantised that it was proven on and is served on; None: it is not
    base_gap: float  # of its golden samples: between adapter and base alone, in nats a token
    known_limits: tuple[str, ...]
    files: dict[str, FileRecord]  # every file of the directory but this one


AdapterManifest = Manifest | ImportedManifest
_EITHER: TypeAdapter[AdapterManifest] = TypeAdapter(AdapterManifest)


def read_adapter_manifest(directory: Path) -> AdapterManifest | None:
    """None for an adapter that an older version published without one.

    Raises:
        ValueError: it is of another version, or damaged.
    """
    return read_as(directory, _EITHER.validate_json)


def known_limits_of_imported(base: BaseModelRecord, served_in: str | None = None) -> tuple[str, ...]:
    found = [
        "It was made elsewhere: on which data, how, and on which revision of the base model is not known here.",
        "That it was trained on this base model follows from the sizes of its layers alone.",
    ]
    if served_in is not None:
        found.append(f"It is served on the base model in the form {served_in}; what it was trained on is not known.")
    if base.parameters is not None and base.parameters < _TOY_PARAMETERS:
        found.append(f"The base model has {base.parameters / 1e6:.1f} million parameters: too few for real work.")
    if base.license == "unknown":
        found.append("The base model's licence is not known: find it out before you pass the adapter on.")
    return tuple(found)


def render_imported_card(manifest: ImportedManifest, legal_files: Iterable[str] = ()) -> str:
    base = manifest.base_model
    figures: list[tuple[str, object]] = [
        ("rank", manifest.rank),
        ("parameters", manifest.parameters),
        ("nats a token between it and the base alone, on its golden samples", f"{manifest.base_gap:.3g}"),
    ]
    sections = [
        front_matter_of_adapter(base),
        f"# {manifest.name}\n\nA LoRA adapter that was made elsewhere and imported into Tunesmith, which wrote its "
        f"config anew and left its weights as they were.\nIts base model is {describe_base(base)}.",
        "## In numbers\n\n" + table(("adapter", ""), figures),
        how_to_use(manifest.name, base),
        "## Limits\n\n" + "\n".join(f"- {sentence}" for sentence in manifest.known_limits),
        licence_section(base, legal_files),
    ]
    return "\n\n".join(sections) + "\n"

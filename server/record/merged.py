"""The manifest and the card of a model that an adapter was merged into."""

from collections.abc import Iterable
from typing import Literal

from server.record.imported import AdapterManifest
from server.record.manifest import MANIFEST_VERSION, BaseModelRecord, FileRecord, Record
from server.record.model_card import describe_base, front_matter_of_merged, licence_section, table
from trainer.contract.merge import MergeReport


class MergeRecord(Record):
    """How well the merged model does what base and adapter do together: `MergeReport` says each."""

    tolerance: float
    n_probe_tokens: int
    adapter_effect: float
    logit_error: float
    rounded_logit_error: float
    rounded_same_choice: float


class MergedManifest(Record):
    version: Literal[1] = MANIFEST_VERSION
    kind: Literal["merged"] = "merged"
    name: str  # the fine-tuned model's
    base_model: BaseModelRecord  # as it was merged into
    dtype: str  # of the weights: the base's own
    parameters: int
    merge: MergeRecord
    adapter: AdapterManifest | None  # None: published by an older version, without one
    known_limits: tuple[str, ...]
    files: dict[str, FileRecord]  # every file of the directory but this one

    def dump(self) -> bytes:
        return self.model_dump_json(indent=2).encode() + b"\n"


def describe_merged(
    name: str, base: BaseModelRecord, adapter: AdapterManifest | None, report: MergeReport, *, tolerance: float
) -> MergedManifest:
    """Everything but the files."""
    measured = report.model_dump(exclude={"dtype", "parameters"})
    return MergedManifest(
        name=name,
        base_model=base,
        dtype=report.dtype,
        parameters=report.parameters,
        merge=MergeRecord(tolerance=tolerance, **measured),
        adapter=adapter,
        known_limits=_known_limits(base, adapter, report),
        files={},
    )


def has_base_changed(base: BaseModelRecord, adapter: AdapterManifest | None) -> bool:
    """Whether the base is known to be another one than the adapter was trained on."""
    trained_on = None if adapter is None else adapter.base_model.revision
    return None not in (trained_on, base.revision) and trained_on != base.revision


def render_merged_card(manifest: MergedManifest, legal_files: Iterable[str] = ()) -> str:
    base, merge = manifest.base_model, manifest.merge
    figures = table(
        ("logits on the same tokens", ""),
        [
            ("tokens compared", merge.n_probe_tokens),
            ("largest change that the adapter makes to the base's", f"{merge.adapter_effect:.3g}"),
            ("largest difference from the adapter's, in 32-bit floats", f"{merge.logit_error:.3g}"),
            (f"the same, of the saved model in {manifest.dtype}", f"{merge.rounded_logit_error:.3g}"),
            ("tokens with the same likeliest next token", f"{merge.rounded_same_choice:.2%}"),
        ],
    )
    sections = [
        front_matter_of_merged(base),
        f"# {manifest.name}, merged\n\nAn adapter made by Tunesmith, added to the weights of its base model, "
        f"{describe_base(base)}.\n`manifest.json` holds the adapter's own manifest: its data, settings and results.",
        f"## How well it was merged\n\n{figures}",
        "## How to use it\n\nAs any model of transformers or vLLM: the directory holds weights, tokenizer, chat "
        "template and generation configuration, and needs no PEFT.",
        "## Limits\n\n" + "\n".join(f"- {sentence}" for sentence in manifest.known_limits),
        licence_section(base, legal_files),
    ]
    return "\n\n".join(sections) + "\n"


def _known_limits(base: BaseModelRecord, adapter: AdapterManifest | None, report: MergeReport) -> tuple[str, ...]:
    found = [
        f"Its weights are rounded to {report.dtype}: its logits differ from the adapter's by up to "
        f"{report.rounded_logit_error:.2g}."
    ]
    if has_base_changed(base, adapter):
        found.append("The base model has changed since the adapter was trained on it.")
    if adapter is None:
        found.append("The adapter has no manifest: what it was trained on is not known.")
        return tuple(found)
    if adapter.served_in is not None:
        found.append(
            f"It was merged into the base model as it is stored; the adapter was proven on {adapter.served_in}."
        )
    return (*found, *adapter.known_limits)

"""A manifest as a model card in the form of the Hugging Face Hub (pure)."""

import json
from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from server.record.loss_curve import LOSS_CURVE
from server.record.manifest import BaseModelRecord, DataRecord, Manifest

MODEL_CARD = "README.md"

_USE_ANYWHERE = (
    "Anywhere else, as any model of transformers or vLLM: the directory holds weights, tokenizer, chat template and "
    "generation configuration, and needs no PEFT."
)

_METRICS = {
    "train_loss": "training loss",
    "train_mean_token_accuracy": "training accuracy",
    "valid_loss": "validation loss, a part of the file",
    "valid_mean_token_accuracy": "validation accuracy, a part of the file",
    "full_valid_loss": "validation loss",
    "full_valid_mean_token_accuracy": "validation accuracy",
    "rewards/chosen": "reward of the preferred answers",
    "rewards/rejected": "reward of the other answers",
    "rewards/margins": "margin of the rewards",
    "full_valid_rewards/margins": "validation margin of the rewards",
    "kl": "distance from the reference, in nats",
}


def render_model_card(manifest: Manifest, legal_files: Iterable[str] = ()) -> str:
    """The text of `README.md`. `legal_files` are the names of the base's that lie beside it."""
    base = manifest.base_model
    sections = [
        _front_matter_of(manifest),
        _what_it_is(manifest),
        _training_data(manifest),
        _hyperparameters(manifest),
        _results(manifest),
        *_reproduction(manifest),
        *_drift(manifest),
        *_estimated_and_measured(manifest),
        *_how_well_saved(manifest),
        how_to_use(manifest.name, base, is_adapter=manifest.own_weights is None),
        "## Limits\n\n" + "\n".join(f"- {sentence}" for sentence in manifest.known_limits),
        licence_section(base, legal_files),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(base: BaseModelRecord, *, library: str, tags: list[str]) -> str:
    """YAML whose strings are JSON's, which is YAML too."""
    fields: dict[str, object] = {
        "base_model": base.repository or base.name,
        "base_model_relation": "adapter" if library == "peft" else "finetune",
        "library_name": library,
        "pipeline_tag": "text-generation",
        "license": base.license,
        "license_name": base.license_name,
        "license_link": base.license_link,
        "tags": tags,
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items() if value is not None]
    return "\n".join(["---", *lines, "---"])


def front_matter_of_adapter(base: BaseModelRecord) -> str:
    return _front_matter(base, library="peft", tags=["lora", "peft", "tunesmith", "text-generation"])


def _front_matter_of(manifest: Manifest) -> str:
    if manifest.own_weights is not None:
        return front_matter_of_merged(manifest.base_model)
    return front_matter_of_adapter(manifest.base_model)


def front_matter_of_merged(base: BaseModelRecord) -> str:
    return _front_matter(base, library="transformers", tags=["tunesmith", "text-generation"])


def licence_section(base: BaseModelRecord, legal_files: Iterable[str]) -> str:
    names = sorted(legal_files)
    if base.license == "unknown":
        text = "The licence of the base model is unknown: neither its model card nor its configuration says it here."
    else:
        named = base.license if base.license_name is None else f"{base.license_name} ({base.license})"
        text = f"The base model's licence is {named}"
        text += "." if base.license_link is None else f": {base.license_link}"
    if names:
        text += f"\nIts terms lie beside this card: {', '.join(f'`{name}`' for name in names)}."
    return f"## Licence\n\n{text}"


def describe_base(base: BaseModelRecord) -> str:
    where = f"`{base.repository}` of the Hugging Face Hub" if base.repository else f"`{base.name}`"
    revision = "of a revision that is not known" if base.revision is None else f"revision `{base.revision}`"
    return f"{where}, {revision}"


def table(head: tuple[str, str], rows: Iterable[tuple[str, object]]) -> str:
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows]
    return "\n".join([f"| {head[0]} | {head[1]} |", "|---|---|", *lines])


def _what_it_is(manifest: Manifest) -> str:
    kind = f"a checkpoint after step {manifest.step}" if manifest.is_checkpoint else "the result of a fine-tuning job"
    is_full = manifest.own_weights is not None
    sentences = [
        f"A {'model all of whose weights were trained' if is_full else 'LoRA adapter'}, {kind}, made by Tunesmith.",
        f"Its base model is {describe_base(manifest.base_model)}.",
    ]
    if manifest.served_in is not None:
        sentences.append(f"It is served on that, quantised by bitsandbytes ({manifest.served_in}).")
    if manifest.parent_model is not None:
        what = "weights" if is_full else "adapter"
        sentences.append(f"Training went on from the {what} of `{manifest.parent_model}`.")
    return f"# {manifest.name}\n\n" + "\n".join(sentences)


def _training_data(manifest: Manifest) -> str:
    columns = [("training", manifest.training_data), ("validation", manifest.validation_data)]
    columns += [("mixed-in", data) for data in manifest.mixed_in_data]
    parts = [_data_table(kind, data) for kind, data in columns if data is not None]
    return "\n\n".join(["## Training data in numbers", *(parts or ["Nothing is known of it."])])


def _data_table(kind: str, data: DataRecord) -> str:
    rows = [
        ("examples", data.n_examples),
        ("tokens", data.n_tokens),
        ("tokens trained on, in one epoch" if kind == "training" else "tokens compared", data.n_trained_tokens),
        ("tokens of the longest example", data.longest_tokens),
        ("examples cut at the context's end", data.n_truncated),
        ("examples left out", data.n_dropped),
        ("bytes", data.bytes),
    ]
    known = [(name, value) for name, value in rows if value is not None]
    return table((f"{kind} file", ""), [*known, ("sha256", f"`{data.sha256}`")])


def _hyperparameters(manifest: Manifest) -> str:
    rows: list[tuple[str, object]] = [(f"`{name}`", value) for name, value in _flat(manifest.settings)]
    rows += [
        ("`seed`", str(manifest.seed)),
        ("`threads`", manifest.threads),
        ("trained tokens", manifest.trained_tokens),
    ]
    versions = ", ".join(f"{name} {version}" for name, version in manifest.packages.items() if version is not None)
    return (
        "## Hyperparameters\n\n"
        + table(("setting", "value"), rows)
        + f"\n\nMade with {versions or 'unknown versions'}."
    )


def _results(manifest: Manifest) -> str:
    last = manifest.metrics.last
    rows = [(label, round(last[name], 5)) for name, label in _METRICS.items() if name in last]
    lines = ["## Results", table((f"after step {manifest.step}", ""), rows)]
    best = manifest.metrics.best
    if best is not None:
        lines.append(
            f"The lowest {_METRICS.get(best.by, best.by)} up to there is {best.value:.5f}, after step {best.step}."
        )
    lines.append(f"![Training and validation loss by step]({LOSS_CURVE})")
    return "\n\n".join(lines)


def _reproduction(manifest: Manifest) -> list[str]:
    found = manifest.reproduction
    if found is None:
        return []
    rows: list[tuple[str, object]] = [("trained as", found.variant), ("published as a plain LoRA of rank", found.rank)]
    for where, of in (("examples", found.on_examples), ("random prompts", found.on_prompts)):
        rows += [
            (f"tokens of {where}", of.n_tokens),
            (f"what the adapter changes in a logit, on {where}", f"{of.effect:.3g}"),
            (f"what this adapter differs by, on {where}", f"{of.error:.3g}"),
        ]
    rows.append(("largest share that was let through", f"{found.bound:g}"))
    return [
        "## How well it does what was trained\n\n"
        "Root mean squares of differences of logits, after reloading these files on a fresh base.\n\n"
        + table((f"in {found.dtype}", ""), rows)
    ]


def _drift(manifest: Manifest) -> list[str]:
    """How the base that serves differs from the one that was trained on, where they are quantised differently."""
    if manifest.drift is None:
        return []
    rows = [
        ("with the adapter, mean", round(manifest.drift.mean, 5)),
        ("with the adapter, largest of a token", round(manifest.drift.largest, 5)),
        ("without the adapter, mean", round(manifest.drift.of_base, 5)),
    ]
    head = (f"from {manifest.drift.quantization} to {manifest.served_in or 'none'}, which serves", "nats a token")
    return ["## Trained on another form of its base", table(head, rows)]


def _estimated_and_measured(manifest: Manifest) -> list[str]:
    parts = {"estimated": manifest.estimate, "measured": manifest.measured}
    tables = [
        table((kind, ""), [(f"`{name}`", value) for name, value in _flat(report) if not isinstance(value, list)])
        for kind, report in parts.items()
        if report is not None
    ]
    return ["## Estimated and measured", *tables] if tables else []


def _how_well_saved(manifest: Manifest) -> list[str]:
    saved = manifest.own_weights
    if saved is None:
        return []
    rows = [
        ("parameters", saved.parameters),
        (f"largest difference of a logit, of {saved.n_probe_tokens} tokens", f"{saved.logit_error:.3g}"),
        ("tokens with the same likeliest next token", f"{saved.same_choice:.2%}"),
        ("mean difference of a log-probability, nats a token", f"{saved.logprob_gap:.3g}"),
    ]
    return [
        f"## How well it was saved\n\n{table((f'saved in {saved.dtype}, against the model in training', ''), rows)}"
    ]


def how_to_use(name: str, base: BaseModelRecord, *, is_adapter: bool = True) -> str:
    return f"""## How to use it

On the server that made it, with the `openai` client:

```python
from openai import OpenAI

client = OpenAI(base_url="http://localhost:8000/v1", api_key="...")
answer = client.chat.completions.create(
    model="{name}",
    messages=[{{"role": "user", "content": "..."}}],
)
```

{_use_with_peft(base) if is_adapter else _USE_ANYWHERE}"""


def _use_with_peft(base: BaseModelRecord) -> str:
    source = base.repository or f"path/to/{base.name}"
    is_commit = base.repository is not None and base.revision is not None
    revision = f', revision="{base.revision}"' if is_commit else ""
    return f"""Anywhere else, with PEFT, from this directory:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{source}"{revision})
tokenizer = AutoTokenizer.from_pretrained("{source}"{revision})
model = PeftModel.from_pretrained(base, "path/to/this/directory")
```"""


def _flat(settings: Mapping[str, JsonValue], prefix: str = "") -> Iterable[tuple[str, JsonValue]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")

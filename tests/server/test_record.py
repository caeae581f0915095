"""What is written beside a published adapter, part by part."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from server.base_models import BaseModelEntry
from server.record.base_identity import content_revision, find_snapshot, identify
from server.record.hashes import FileHashes
from server.record.known_limits import Circumstances, known_limits, of_the_reproduction
from server.record.licence import UNKNOWN, Licence, find_legal_files, find_licence, parse_front_matter
from server.record.loss_curve import draw_loss_curve, thin
from server.record.manifest import (
    BestStep,
    DriftRecord,
    MetricsRecord,
    condense,
    find_damaged,
    list_files,
    read_manifest,
    settings_of,
    summarise_metrics,
)
from server.record.model_card import render_model_card
from tests.records import BASE, DATA, REPRODUCTION, make_manifest

DRIFT = DriftRecord(quantization="int8", mean=0.018685, largest=0.262334, of_base=0.023828)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = make_manifest(reproduction=REPRODUCTION)
    (tmp_path / "manifest.json").write_bytes(manifest.dump())

    assert read_manifest(tmp_path) == manifest
    assert json.loads(manifest.dump())["version"] == 1


@pytest.mark.parametrize(
    "changes",
    [{"version": 2}, {"step": "20"}, {"surplus": 1}, {"known_limits": None}],
    ids=["another version", "a number as text", "a field nobody knows", "a field left out"],
)
def test_a_manifest_is_strict(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({**json.loads(make_manifest().dump()), **changes}))

    with pytest.raises(ValidationError):
        read_manifest(tmp_path)


def test_an_adapter_of_an_older_version_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


def test_a_file_that_is_not_what_the_manifest_says_is_named(tmp_path: Path) -> None:
    for name in ("whole", "flipped", "gone"):
        (tmp_path / name).write_text("one")
    (tmp_path / "manifest.json").write_text("is no part of itself")
    files = list_files(tmp_path)
    assert sorted(files) == ["flipped", "gone", "whole"]
    assert find_damaged(tmp_path, files) == []

    (tmp_path / "flipped").write_text("two!")
    (tmp_path / "gone").unlink()
    assert sorted(find_damaged(tmp_path, files)) == ["flipped", "gone"]


@pytest.mark.parametrize(
    ("steps", "last", "best"),
    [
        ([], {}, None),
        (
            [{"step": 1, "train_loss": 2.0}, {"step": 2, "total_steps": 9, "train_loss": 3.0}],
            {"train_loss": 3.0},
            BestStep(by="train_loss", step=1, value=2.0),
        ),
        (
            [
                {"step": 1, "train_loss": 2.0, "valid_loss": 1.0},
                {"step": 2, "train_loss": 1.0, "valid_loss": 5.0, "full_valid_loss": 4.0},
                {"step": 3, "train_loss": 3.0, "full_valid_loss": 4.5},
            ],
            {"train_loss": 3.0, "full_valid_loss": 4.5},
            BestStep(by="full_valid_loss", step=2, value=4.0),
        ),
    ],
    ids=["nothing reported", "training alone", "whole validations decide"],
)
def test_last_and_best_metrics(steps: list[dict[str, Any]], last: dict[str, float], best: BestStep | None) -> None:
    assert summarise_metrics(steps) == MetricsRecord(last=last, best=best)


def test_settings_are_everything_but_places_and_whose_they_are() -> None:
    spec = {
        "version": 1,
        "job_id": "ftjob-1",
        "attempt": 2,
        "base_model": {"source": "/srv/model"},
        "start_from": "parent",
        "resume_from": "/srv/run/checkpoints/step_000010",
        "seed": 7,
        "threads": 1,
        "method": {"type": "supervised", "n_epochs": 2, "template": "/srv/template"},
        "lora": {"rank": 16, "target_modules": ["q_proj", "/srv/secret"]},
    }

    assert settings_of(spec) == {
        "method": {"type": "supervised", "n_epochs": 2},
        "lora": {"rank": 16, "target_modules": ["q_proj"]},
    }


def test_a_report_is_kept_in_numbers() -> None:
    findings = {"findings": [{"check": "duplicates", "lines": [1, 5], "n_lines": 2}]}
    assert condense(findings) == {"findings": [{"check": "duplicates", "lines": 2, "n_lines": 2}]}
    assert condense({"findings": [{"n": 1}] * 101}) == {"findings": 101}
    report = {"checks": {"duplicates": {"rows": [1, 5, 9], "severity": "warning"}}, "cache": "/srv/cache", "n": 3}

    assert condense(report) == {"checks": {"duplicates": {"rows": 3, "severity": "warning"}}, "n": 3}
    assert condense(None) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            ["3.7 million parameters", "2 training example(s) were longer than the limit of 1,024 tokens", "300 ex"],
        ),
        ({"validation": None}, ["no validation file"]),
        ({"settings": {"memory": {"quantization": "nf4"}}}, ["in the form nf4", "a little differently."]),
        (
            {"settings": {"memory": {"quantization": "nf4"}}, "served_in": "nf4"},
            ["It was trained on the base model in the form nf4, and is proven for that alone"],
        ),
        (
            {"settings": {"memory": {"quantization": None}}, "served_in": "nf4"},
            ["trained on the unquantised base model: on the base model in the form nf4, which serves it"],
        ),
        (
            {"settings": {"memory": {"quantization": "int8"}}, "drift": DRIFT},
            ["in the form int8", "a little differently: by 0.019 nats a token, at most 0.262."],
        ),
        (
            {
                "data_gate": {
                    "findings": [{"severity": "warning", "message": "9 rows are alike."}, {"severity": "info"}]
                }
            },
            ["A check of the data warned: 9 rows are alike."],
        ),
        ({"is_checkpoint": True}, ["a checkpoint after step 5 of 20"]),
        ({"training": DATA.model_copy(update={"n_examples": 12})}, ["12 example(s). Few"]),
        ({"training": DATA.model_copy(update={"n_dropped": 4})}, ["4 training example(s) were left out"]),
        (
            {"base_model": BASE.model_copy(update={"license": "unknown", "revision": None})},
            ["licence is not known", "revision of the base model it was trained on is not known"],
        ),
    ],
)
def test_limits_follow_from_the_numbers(changes: dict[str, Any], words: list[str]) -> None:
    usual: dict[str, Any] = {
        "base_model": BASE,
        "training": DATA,
        "validation": DATA.model_copy(update={"n_truncated": 0}),
        "settings": {"context_length_tokens": 1024},
        "step": 5,
        "total_steps": 20,
        "is_checkpoint": False,
    }
    limits = " ".join(known_limits(Circumstances(**{**usual, **changes})))

    assert [part for part in words if part not in limits] == []


def test_nothing_is_limited_that_is_as_it_should_be() -> None:
    base = BASE.model_copy(update={"parameters": 8_000_000_000})
    data = DATA.model_copy(update={"n_truncated": 0, "n_examples": 5000})

    assert known_limits(
        Circumstances(base, data, data, {}, 20, 20, is_checkpoint=False, data_gate={"findings": 3})
    ) == (
        "It was trained on 5,000 example(s).",
        "Losses and accuracies count tokens; whether whole answers are right was not measured.",
    )


def test_the_card_says_how_far_the_base_that_serves_is_from_a_quantised_one() -> None:
    card = render_model_card(make_manifest(drift=DRIFT))
    assert "## Trained on another form of its base" in card
    assert "| from int8 to none, which serves | nats a token |" in card
    assert "| with the adapter, largest of a token | 0.26233 |" in card
    assert "another form" not in render_model_card(make_manifest())


def test_the_card_says_on_which_form_of_its_base_it_is_served() -> None:
    assert "It is served on that, quantised by bitsandbytes (nf4)." in render_model_card(make_manifest(served_in="nf4"))
    assert "bitsandbytes" not in render_model_card(make_manifest())


def test_the_card_is_one_of_the_hubs() -> None:
    card = render_model_card(make_manifest(), ["NOTICE", "LICENSE.txt"])

    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "tunesmith-demo",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "tags": ["lora", "peft", "tunesmith", "text-generation"],
    }
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "Training data in numbers",
        "Hyperparameters",
        "Results",
        "How to use it",
        "Limits",
        "Licence",
    ]
    for part in (
        "| examples | 300 |",
        "| `method.learning_rate` | 0.005 |",
        "| `seed` | 1234567 |",
        "torch 2.13.0",
        "| training loss | 0.12346 |",
        "is 0.10000, after step 19",
        "![Training and validation loss by step](loss_curve.png)",
        'model="ft:tunesmith-demo:personal:desk:AbCd1234"',
        "PeftModel.from_pretrained(base,",
        "- It is small.",
        "`LICENSE.txt`, `NOTICE`",
    ):
        assert part in text


def test_what_was_estimated_and_measured_stands_side_by_side() -> None:
    card = render_model_card(make_manifest(estimate={"memory": {"peak": 7_000}}, measured={"peak": 7_100, "by": [1]}))

    assert "| `memory.peak` | 7,000 |" in card
    assert "| `peak` | 7,100 |" in card
    assert "Estimated and measured" not in render_model_card(make_manifest())


def test_how_well_an_adapter_does_what_was_trained_stands_in_the_card() -> None:
    card = render_model_card(make_manifest(reproduction=REPRODUCTION))

    assert "## How well it does what was trained" in card
    assert "| trained as | dora |" in card
    assert "| published as a plain LoRA of rank | 64 |" in card
    assert "| what this adapter differs by, on examples | 0.01 |" in card
    assert "does what was trained" not in render_model_card(make_manifest())


def test_a_conversion_is_a_limit_and_so_is_what_was_not_compared() -> None:
    assert "differ by 0.005 of the adapter's effect on examples" in of_the_reproduction(REPRODUCTION)[0]
    assert of_the_reproduction(REPRODUCTION.model_copy(update={"variant": "lora"})) == ()
    assert of_the_reproduction(None) == ("It was not compared with the trained model after training.",)


def test_an_unknown_licence_is_said_to_be_unknown_and_a_repository_named_with_its_commit() -> None:
    base = BASE.model_copy(update={"license": "unknown", "repository": "org/base", "revision": "c" * 40})
    card = render_model_card(make_manifest(base_model=base))

    assert yaml.safe_load(card.split("---\n")[1])["license"] == "unknown"
    assert "The licence of the base model is unknown" in card
    assert f'from_pretrained("org/base", revision="{"c" * 40}")' in card


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: apache-2.0\nlanguage: en\n---\n# Model", {"license": "apache-2.0"}),
        ("---\r\nlicense: 'mit'  # as it was\r\n---\r\n", {"license": "mit"}),
        ("---\ntags:\n- x\nlicense:\n- llama3.2\n---\n", {"license": "llama3.2"}),
        ('---\nlicense: ["gpl-3.0", "mit"]\n---\n', {"license": "gpl-3.0"}),
        (
            "---\nlicense: other\nlicense_name: qwen\nlicense_link: https://example.org/LICENSE\n---\n",
            {"license": "other", "license_name": "qwen", "license_link": "https://example.org/LICENSE"},
        ),
        ("# Model\nlicense: mit\n", {}),
        ("---\nlicense:\n---\n", {}),
        ("---\nlicense: mit", {}),
    ],
)
def test_what_a_card_says_of_its_licence(text: str, expected: dict[str, str]) -> None:
    assert parse_front_matter(text) == expected


def test_a_licence_is_taken_from_the_configuration_where_no_card_says_it(tmp_path: Path) -> None:
    assert find_licence(tmp_path) == UNKNOWN
    (tmp_path / "README.md").write_text("# No front matter")
    (tmp_path / "config.json").write_text('{"license": "mit"}')
    assert find_licence(tmp_path) == Licence("mit")
    (tmp_path / "config.json").write_text("{")
    assert find_licence(tmp_path) == UNKNOWN


def test_only_files_of_the_law_are_taken_along(tmp_path: Path) -> None:
    for name in ("LICENSE", "Licence.md", "NOTICE", "LICENSE_weights.txt", "licenses.py", "noticeboard", "README.md"):
        (tmp_path / name).write_text("x")
    (tmp_path / "LICENSE.d").mkdir()
    (tmp_path / "NOTICE.huge").write_bytes(bytes(1024 * 1024 + 1))

    names = [path.name for path in find_legal_files(tmp_path)]
    assert sorted(names) == ["LICENSE", "LICENSE_weights.txt", "Licence.md", "NOTICE"]


def test_a_base_is_known_by_its_weights_configuration_and_tokenizer(tmp_path: Path) -> None:
    base, hashes = tmp_path / "base", FileHashes(tmp_path / "cache" / "hashes.json")
    base.mkdir()
    for name in ("model-1.safetensors", "model-2.safetensors", "config.json", "tokenizer.json"):
        (base / name).write_text(name)
    first = content_revision(base, hashes)

    (base / "README.md").write_text("says nothing of how it behaves")
    assert content_revision(base, hashes) == first
    moved = base.rename(tmp_path / "moved")
    assert content_revision(moved, hashes) == first
    for name in ("model-2.safetensors", "config.json", "tokenizer.json"):
        before = (moved / name).read_text()
        (moved / name).write_text("other")
        assert content_revision(moved, hashes) != first
        (moved / name).write_text(before)
    assert content_revision(moved, hashes) == first
    (moved / "model-2.safetensors").unlink()
    assert content_revision(moved, hashes) != first


def test_a_large_file_is_hashed_once_and_again_when_it_changed(tmp_path: Path) -> None:
    file, memory = tmp_path / "weights", tmp_path / "cache" / "hashes.json"
    file.write_text("one")
    first = FileHashes(memory).sha256(file)
    memory.write_text(memory.read_text().replace(first, "f" * 64))  # whoever believes it has not read the file
    assert FileHashes(memory).sha256(file) == "f" * 64
    os.utime(file, ns=(1, 1))
    assert FileHashes(memory).sha256(file) == first
    memory.write_text("[torn")
    assert FileHashes(memory).sha256(file) == first
    assert [path.name for path in memory.parent.iterdir()] == ["hashes.json"]


def test_a_repository_is_known_by_its_commit_in_the_hubs_cache(tmp_path: Path) -> None:
    commit, cache = "b" * 40, tmp_path / "models--org--base"
    snapshot = cache / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    (snapshot / "README.md").write_text("---\nlicense: mit\n---\n")
    environment = {"HF_HUB_CACHE": str(tmp_path)}

    assert find_snapshot("org/base", None, environment) == (snapshot, commit)
    assert find_snapshot("org/base", commit, environment) == (snapshot, commit)
    assert find_snapshot("org/base", "c" * 40, environment) == (None, "c" * 40)
    assert find_snapshot("org/other", "v1", environment) == (None, "v1")
    entry = BaseModelEntry(name="base", source="org/base", context_length=64)
    found = identify(entry, FileHashes(tmp_path / "hashes.json"), environment)
    assert (found.repository, found.revision, found.licence) == ("org/base", commit, Licence("mit"))


def test_a_curve_of_many_steps_is_thinned_and_ends_where_it_ended() -> None:
    points = [(step, float(step % 7)) for step in range(1, 100_001)]
    thinned = thin(points)

    assert len(thinned) <= 500
    assert thinned[-1] == (100_000.0, float(100_000 % 7))
    assert [step for step, _ in thinned] == sorted(step for step, _ in thinned)
    assert thin(points[:500]) == [(float(step), loss) for step, loss in points[:500]]


def test_the_same_steps_give_the_same_picture_and_others_another() -> None:
    steps = [{"step": step, "train_loss": 2 / step, "full_valid_loss": 3 / step} for step in range(1, 10)]
    picture = draw_loss_curve(steps)

    assert picture.startswith(b"\x89PNG\r\n")
    assert draw_loss_curve(steps) == picture
    assert draw_loss_curve([{**step, "full_valid_loss": 1.0} for step in steps]) != picture
    assert draw_loss_curve([]).startswith(b"\x89PNG\r\n")

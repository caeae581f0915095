"""Each family of base models: what is rendered, what is trained on, that it learns, and that the adapter is as trained.

tests/engine/test_model_families.py serves them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES, Family, make_family, write_tokenizer
from trainer_runs import assistant, events, example, make_run, make_spec, progress, train_here, user, write_lines

from trainer.contract.events import Note, Succeeded
from trainer.contract.golden import GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource
from trainer.dataset import TokenizedExamples, tokenize_files
from trainer.failures import FileUnusable
from trainer.tokenizer import ChatTokenizer, load_chat_tokenizer

SYSTEM = {"role": "system", "content": "Be brief."}
TWO_TURNS = [user("What?"), assistant("bee"), user("And?"), assistant("dee")]


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    chosen: Family = request.param
    return chosen


@pytest.fixture
def tokenizer(family: Family, tmp_path: Path) -> ChatTokenizer:
    write_tokenizer(family, tmp_path / "base")
    return load_chat_tokenizer(BaseModelSource(source=str(tmp_path / "base")))


def tokenize(tokenizer: ChatTokenizer, root: Path, *values: object) -> TokenizedExamples:
    root.mkdir(exist_ok=True)
    run = RunDirectory(root)
    write_lines(run.training_file, values)
    return tokenize_files(run, tokenizer, context_length_tokens=256)[0]


def trained_ids(file: TokenizedExamples) -> list[int]:
    example = file[0]
    ids: list[int] = example.input_ids_L[example.trained_L].tolist()
    return ids


def test_exactly_the_answers_and_their_stop_tokens_are_trained_on(
    family: Family, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    file = tokenize(tokenizer, tmp_path, {"messages": TWO_TURNS})
    stop = tokenizer.tokenizer.convert_tokens_to_ids(family.stop)
    ids = trained_ids(file)
    assert ids.count(stop) == 2
    assert ids[-1] == stop
    said = tokenizer.tokenizer.decode(ids).split(family.stop)
    assert said == [f"{family.says_before}bee", f"{family.says_before}dee", ""]


def test_what_precedes_an_answer_is_what_a_served_prompt_is(
    family: Family, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    file = tokenize(tokenizer, tmp_path, {"messages": [user("What?"), assistant("bee")]})
    prompt = tokenizer.tokenizer.apply_chat_template(
        [user("What?")], add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    first = int(file[0].trained_L.argmax())
    assert file[0].input_ids_L[:first].tolist() == list(prompt)
    assert prompt.count(tokenizer.tokenizer.bos_token_id) == (0 if family.bos is None else 1)


def test_system_messages_stand_where_the_family_puts_them(
    family: Family, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    line = {"messages": [SYSTEM, *TWO_TURNS]}
    if family.system == "refused":
        with pytest.raises(FileUnusable, match=r"refuses line 1\. It takes no system message"):
            tokenize(tokenizer, tmp_path, line)
        return
    file = tokenize(tokenizer, tmp_path, line)
    plain = tokenize(tokenizer, tmp_path / "plain", {"messages": TWO_TURNS})
    assert "Be brief." in tokenizer.tokenizer.decode(file[0].input_ids_L)
    assert trained_ids(file) == trained_ids(plain)


def test_turns_that_do_not_alternate_are_refused_where_the_family_has_them_do(
    family: Family, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    line = {"messages": [user("One"), user("Two"), assistant("bee")]}
    if family.alternates:
        with pytest.raises(FileUnusable, match=r"refuses line 1\. User and assistant must take turns"):
            tokenize(tokenizer, tmp_path, line)
    else:
        assert len(tokenize(tokenizer, tmp_path, line)) == 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family], RunDirectory]:
    """A short run of each, done once."""
    done: dict[str, RunDirectory] = {}

    def train(family: Family) -> RunDirectory:
        if family.title not in done:
            root = tmp_path_factory.mktemp("family")
            lora: Any = {"rank": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}
            base = make_family(family, root / "base")
            spec = make_spec(base, lora=lora, method={"n_epochs": 3, "learning_rate": 2e-2}, checkpoint_every_steps=0)
            done[family.title] = train_here(make_run(root / "run", spec, n_examples=12))
        return done[family.title]

    return train


Train = Callable[[Family], RunDirectory]


@pytest.mark.trainer
def test_it_learns(family: Family, trained: Train) -> None:
    run = trained(family)
    losses = [step.metrics.train_loss for step in progress(run)]
    assert isinstance(events(run)[-1], Succeeded)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


@pytest.mark.trainer
def test_the_adapter_changes_what_is_said_and_only_what_the_engine_serves(family: Family, trained: Train) -> None:
    from safetensors.numpy import load_file

    from inference.adapter_files import check_adapter
    from inference.base_shapes import read_base_shapes

    run = trained(family)
    base = Path(run.read_spec().base_model.source)
    check_adapter(run.adapter, 16, read_base_shapes(base))
    changed = {name.split(".")[-3] for name in load_file(run.adapter / "adapter_model.safetensors")}
    attention, rest = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}
    assert changed == (attention if family.trained == "attention only" else attention | rest)
    said = [event.message for event in events(run) if isinstance(event, Note) and "expert" in event.message]
    assert len(said) == (1 if family.trained == "attention only" else 0)


@pytest.mark.trainer
def test_the_adapter_loaded_again_says_what_was_trained(family: Family, trained: Train) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from trainer.golden_samples import _score

    run = trained(family)
    golden = GoldenSamples.model_validate_json((run.adapter / "golden_samples.json").read_bytes())
    base = AutoModelForCausalLM.from_pretrained(run.read_spec().base_model.source, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, run.adapter).eval()
    tokens = torch.tensor([[*sample.prompt_token_ids, *sample.sampled_token_ids] for sample in golden.samples])
    again = _score(model, tokens, len(golden.samples[0].sampled_token_ids))
    assert golden.is_distinct
    for sample, logprobs in zip(golden.samples, again, strict=True):
        assert logprobs == pytest.approx(sample.adapter_logprobs, abs=1e-4)


@pytest.mark.trainer
def test_its_shape_is_known_or_said_to_be_not(family: Family, trained: Train) -> None:
    from safetensors.numpy import load_file

    from server.fine_tuning.estimates.layers import lora_parameters
    from trainer.model_shape import read_shape

    run = trained(family)
    shape = read_shape(run.read_spec().base_model)
    assert (shape is not None) == family.has_shape
    if shape is not None:
        trained_parameters = sum(tensor.size for tensor in load_file(run.adapter / "adapter_model.safetensors").values())
        assert lora_parameters(shape, rank=4) == trained_parameters

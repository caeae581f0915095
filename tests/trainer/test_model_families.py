"""Each family of base models: what is rendered, what is trained on, that it learns, and that the adapter is as trained.

tests/engine/test_model_families_served.py serves them.
"""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import FAMILIES, TEMPLATES, Family, make_family, table, write_tokenizer
from safetensors.numpy import load_file, save_file
from trainer_runs import ROOT, assistant, events, make_run, make_spec, progress, train_here, user, write_lines

from trainer.base_model import count_parameters
from trainer.check import check
from trainer.contract.events import Note, Succeeded
from trainer.contract.golden import GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource
from trainer.dataset import TokenizedExamples, tokenize_files
from trainer.experts import refuse_trained_experts
from trainer.failures import BaseModelUnavailable, FileUnusable
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


SHIPPED = {
    "llama3": ("llama3", ""),
    "llama3_1": ("llama3", ""),
    "llama3_2": ("llama3", ""),
    "qwen2_5": ("qwen2.5", ""),
    "qwen3": ("qwen3", "<think>\n\n</think>\n\n"),  # it thinks nothing first
    "qwen3_instruct_2507": ("qwen3-moe", ""),
    "gemma3": ("gemma3", ""),
}


@pytest.mark.parametrize("template", SHIPPED)
def test_the_template_that_a_family_ships_is_trained_with(template: str, tmp_path: Path) -> None:
    """In TRL's copies, word by word; it has none of Mistral's."""
    trl = find_spec("trl")
    assert trl is not None
    assert trl.origin is not None
    name, before = SHIPPED[template]
    family = FAMILIES[name]
    write_tokenizer(family, tmp_path / "base")
    shipped = (Path(trl.origin).parent / "chat_templates" / f"{template}.jinja").read_text()
    (tmp_path / "base" / "chat_template.jinja").write_text(shipped)
    tokenizer = load_chat_tokenizer(BaseModelSource(source=str(tmp_path / "base")))
    ids = trained_ids(tokenize(tokenizer, tmp_path, {"messages": [SYSTEM, *TWO_TURNS]}))
    said = tokenizer.tokenizer.decode(ids).split(family.stop)
    assert said == [f"{before}bee", f"{before}dee", ""]


def test_a_template_that_moves_the_system_message_on_trains_the_last_answer_alone(tmp_path: Path) -> None:
    """Newer ones of Mistral put it before the last message of the user, wherever that is."""
    family = FAMILIES["mistral"]
    write_tokenizer(family, tmp_path / "base")
    own = (TEMPLATES / "mistral.jinja").read_text()
    moving = own.replace(
        "{{- bos_token }}",
        "{{- bos_token }}{%- set system = '' %}{%- if messages[0].role == 'system' %}"
        "{%- set system = messages[0].content %}{%- set messages = messages[1:] %}{%- endif %}",
    ).replace(
        "'[INST] ' +",
        "'[INST] ' + (system if messages[loop.index:] | selectattr('role', 'eq', 'user') "
        "| list | length == 0 else '') +",
    )
    (tmp_path / "base" / "chat_template.jinja").write_text(moving)
    tokenizer = load_chat_tokenizer(BaseModelSource(source=str(tmp_path / "base")))
    both = {"messages": [SYSTEM, *TWO_TURNS]}
    with pytest.raises(FileUnusable, match=r"Line 1 .* renders the beginning .* Or train on its last answer alone"):
        tokenize(tokenizer, tmp_path, both)
    last = {"messages": [SYSTEM, TWO_TURNS[0], assistant("bee", weight=0), *TWO_TURNS[2:]]}
    ids = trained_ids(tokenize(tokenizer, tmp_path, last))
    assert tokenizer.tokenizer.decode(ids) == f" dee{family.stop}"


def test_a_base_that_takes_images_too_is_refused_by_name(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write_tokenizer(FAMILIES["gemma3"], base)
    (base / "config.json").write_text(json.dumps({"model_type": "gemma3", "vision_config": {"hidden_size": 8}}))
    run = make_run(tmp_path / "run", make_spec(base))
    with pytest.raises(BaseModelUnavailable, match="takes images or sound besides text"):
        check(run, run.read_check_spec())


@pytest.mark.trainer
def test_an_adapter_that_would_change_experts_is_refused_by_name(tmp_path: Path) -> None:
    """PEFT takes the name of a dense layer's projection for the experts'."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = make_family(FAMILIES["qwen3-moe"], tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wanted = ["q_proj", "gate_proj", "up_proj", "down_proj"]
    with pytest.warns(RuntimeWarning, match="gate_up_proj"):
        attached = get_peft_model(model, LoraConfig(r=2, target_modules=wanted, task_type="CAUSAL_LM"))
    with pytest.raises(BaseModelUnavailable, match="Name layers of its attention alone"):
        refuse_trained_experts(attached)


def test_weights_that_come_in_two_formats_are_counted_once(tmp_path: Path) -> None:
    for name in ("model.safetensors", "consolidated.safetensors"):
        save_file({"weight": np.zeros((3, 5), np.float32)}, tmp_path / name)
    assert count_parameters(BaseModelSource(source=str(tmp_path))) == 15


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

    from trainer.golden_samples import logits_of, score

    run = trained(family)
    golden = GoldenSamples.model_validate_json((run.adapter / "golden_samples.json").read_bytes())
    base = AutoModelForCausalLM.from_pretrained(run.read_spec().base_model.source, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, run.adapter).eval()
    tokens = torch.tensor([[*sample.prompt_token_ids, *sample.sampled_token_ids] for sample in golden.samples])
    again = score(logits_of(model, tokens), tokens, len(golden.samples[0].sampled_token_ids))
    assert golden.is_distinct
    for sample, logprobs in zip(golden.samples, again, strict=True):
        assert logprobs == pytest.approx(sample.adapter_logprobs, abs=1e-4)


@pytest.mark.trainer
def test_its_shape_is_known_and_its_adapter_is_as_large_as_was_said(family: Family, trained: Train) -> None:
    from server.fine_tuning.estimates.layers import lora_parameters
    from trainer.model_shape import read_shape

    run = trained(family)
    shape = read_shape(run.read_spec().base_model)
    assert shape is not None
    weights = load_file(run.adapter / "adapter_model.safetensors").values()
    assert lora_parameters(shape, rank=4) == sum(tensor.size for tensor in weights)


@pytest.mark.trainer
def test_the_estimated_peak_is_near_the_measured_one(family: Family, trained: Train) -> None:
    from server.fine_tuning.estimates.memory import Load, estimate_memory
    from trainer.layout import lay_out
    from trainer.model_shape import read_shape
    from trainer.order import StepOrder

    run = trained(family)
    spec, last = run.read_spec(), events(run)[-1]
    shape = read_shape(spec.base_model)
    assert shape is not None
    assert isinstance(last, Succeeded)
    assert last.measured is not None
    file, _ = tokenize_files(run, load_chat_tokenizer(spec.base_model), context_length_tokens=256)
    order = StepOrder(len(file), spec.method.batch_size, spec.method.n_epochs, spec.seed)
    peaks = []
    for step in range(1, order.total_steps + 1):
        chosen = [file[index] for index in order.examples_of(step)]
        lengths = [len(each.input_ids_L) for each in chosen]
        for group in lay_out(lengths, budget_tokens=spec.memory.micro_batch_tokens):
            tokens = len(group) * max(lengths[index] for index in group)
            labelled = sum(chosen[index].n_trained_tokens for index in group)
            load = Load(shape, spec.memory, "cpu", micro_batch_tokens=tokens, labelled_tokens=labelled, rank=4)
            peaks.append(estimate_memory(load).peak)
    print(f"{max(peaks) / last.measured.peak_tensor_bytes:.2f}")  # noqa: T201
    assert max(peaks) == pytest.approx(last.measured.peak_tensor_bytes, rel=0.25)


def test_the_page_of_the_families_says_what_these_tests_show() -> None:
    page = (ROOT / "docs" / "model-families.md").read_text("utf-8")
    assert table() in page

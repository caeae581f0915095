"""What is trained on: the assistant's words and its stop token, and nothing else."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from trainer_runs import MARKED_TEMPLATE, PLAIN_TEMPLATE, assistant, make_tokenizer, user, write_lines

from trainer.check import look_through
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, CheckSpec
from trainer.dataset import TokenizedExamples, tokenize_files
from trainer.failures import BaseModelUnavailable, FileUnusable
from trainer.tokenizer import ChatTokenizer, load_chat_tokenizer

CALL = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Bonn"}'}}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
STOP = "<|im_end|>"


def load(directory: Path, template: str | None, **more: Any) -> ChatTokenizer:
    make_tokenizer(directory, template=template, **more)
    return load_chat_tokenizer(BaseModelSource(source=str(directory)))


@pytest.fixture(params=[MARKED_TEMPLATE, PLAIN_TEMPLATE], ids=["with markers", "without markers"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> ChatTokenizer:
    return load(tmp_path / "base", request.param)


def tokenize(tokenizer: ChatTokenizer, tmp_path: Path, *values: object, limit: int = 1000) -> TokenizedExamples:
    run = RunDirectory(tmp_path)
    write_lines(run.training_file, values)
    return tokenize_files(run, tokenizer, context_length_tokens=limit)[0]


def trained_text(tokenizer: ChatTokenizer, file: TokenizedExamples, index: int = 0) -> str:
    """The trained runs of tokens, with a bar between them."""
    example = file[index]
    parts, was_trained = [""], False
    for token, is_trained in zip(example.input_ids_L, example.trained_L, strict=True):
        if is_trained:
            parts += [] if was_trained else [""]
            parts[-1] += tokenizer.tokenizer.decode([token])
        was_trained = is_trained
    return "|".join(parts[1:])


MASKS: list[tuple[str, dict[str, Any], str]] = [
    ("one turn", {"messages": [user("a"), assistant("bee")]}, f"bee{STOP}"),
    ("two turns", {"messages": [user("a"), assistant("bee"), user("c"), assistant("dee")]}, f"bee{STOP}|dee{STOP}"),
    ("turns in a row", {"messages": [user("a"), assistant("bee"), assistant("dee")]}, f"bee{STOP}|dee{STOP}"),
    ("weight 0", {"messages": [user("a"), assistant("bee", weight=0), user("c"), assistant("dee")]}, f"dee{STOP}"),
    ("the user says the same", {"messages": [user("bee"), assistant("bee"), user("bee")]}, f"bee{STOP}"),
    ("the user says the stop token", {"messages": [user(STOP), assistant("bee")]}, f"bee{STOP}"),
    ("white space", {"messages": [user("a"), assistant("\n bee \n")]}, f"\n bee \n{STOP}"),
    ("nothing but the stop", {"messages": [user("a"), assistant("")]}, STOP),
    ("two letters a token each", {"messages": [user("ä"), assistant("ö ü 語")]}, f"ö ü 語{STOP}"),
    (
        "tools",
        {
            "messages": [
                user("a"),
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "content": "9", "tool_call_id": "c"},
                assistant("nine"),
            ],
            "tools": [TOOL],
        },
        f'<call>{{"name": "look_up", "arguments": {{"city": "Bonn"}}}}</call>{STOP}|nine{STOP}',
    ),
]


@pytest.mark.parametrize(("line", "expected"), [case[1:] for case in MASKS], ids=[case[0] for case in MASKS])
def test_the_mask_holds_exactly_the_assistants_tokens(
    tokenizer: ChatTokenizer, tmp_path: Path, line: dict[str, Any], expected: str
) -> None:
    file = tokenize(tokenizer, tmp_path, line)
    shown = trained_text(tokenizer, file)
    # a letter of several bytes can be several tokens, which do not decode one by one
    assert shown.replace("�", "") == "".join(c for c in expected if c.isascii())
    assert file[0].n_trained_tokens == sum(file[0].trained_L)


def test_tools_are_rendered_by_the_template(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    file = tokenize(tokenizer, tmp_path, {"messages": [user("a"), assistant("b")], "tools": [TOOL]})
    text = tokenizer.tokenizer.decode(file[0].input_ids_L)
    expected = (
        '{"type": "function", "function": {"name": "look_up", "description": null, "parameters": {"type": "object"}}}'
    )
    assert text.startswith(f"<|im_start|>tools\n{expected}\n<|im_end|>")


def test_a_developer_message_becomes_the_system_message_as_when_served(
    tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    lines = [
        {"messages": [{"role": role, "content": "x"}, user("a"), assistant("b")]} for role in ("developer", "system")
    ]
    file = tokenize(tokenizer, tmp_path, *lines)
    assert file[0].input_ids_L.tolist() == file[1].input_ids_L.tolist()


def test_system_messages_that_move_do_not_move_the_mask(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    developer = {"role": "developer", "content": "x"}
    turns = [user("a"), assistant("bee", weight=0), developer, user("c"), assistant("dee")]
    file = tokenize(tokenizer, tmp_path, {"messages": [developer, *turns]})
    assert trained_text(tokenizer, file) == f"dee{STOP}"
    assert tokenizer.tokenizer.decode(file[0].input_ids_L).startswith("<|im_start|>system\nx\n\nx<|im_end|>")


def test_long_examples_are_cut_and_those_without_answer_left_are_dropped(
    tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    fits = {"messages": [user("a"), assistant("b")]}
    cut = {"messages": [user("a"), assistant("b" * 200)]}
    lost = {"messages": [user("a" * 200), assistant("b")]}
    silent = {"messages": [user("a"), assistant("b", weight=0)]}
    file = tokenize(tokenizer, tmp_path, fits, cut, lost, silent, fits, limit=50)
    spec = CheckSpec(job_id="ftjob-test", base_model=BaseModelSource(source="unread"), context_length_tokens=50)
    report = look_through(RunDirectory(tmp_path), spec, tokenizer).training
    assert report is not None
    assert len(file) == 3
    assert sum(len(example.input_ids_L) for example in file) == report.n_tokens
    assert (report.n_examples, report.truncated_lines, report.dropped_lines) == (3, (2,), (3, 4))
    assert report.longest_tokens > 200
    assert report.n_tokens <= 3 * 50


def test_a_file_with_nothing_left_to_train_on_is_refused_with_its_figures(
    tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    lost = {"messages": [user("a" * 200), assistant("b")]}
    with pytest.raises(FileUnusable, match=r"None of its 2 example.s. can be used") as caught:
        tokenize(tokenizer, tmp_path, lost, lost, limit=50)
    assert caught.value.param == "training_file"


def test_what_is_wrong_with_a_validation_file_is_said_of_it(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    write_lines(tmp_path / "training.jsonl", [{"messages": [user("a"), assistant("b")]}])
    write_lines(tmp_path / "validation.jsonl", [{"messages": [user("a")]}])
    with pytest.raises(FileUnusable, match=r"invalid validation file.*At least one message") as caught:
        tokenize_files(RunDirectory(tmp_path), tokenizer, context_length_tokens=50)
    assert caught.value.param == "validation_file"


def test_a_line_the_template_refuses_is_named(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{% endfor %}"
    )
    tokenizer = load(tmp_path / "base", template + MARKED_TEMPLATE)
    good = {"messages": [user("a"), assistant("b")]}
    bad = {"messages": [{"role": "tool", "content": "9", "tool_call_id": "c"}, assistant("b")]}
    with pytest.raises(FileUnusable, match="chat template refuses line 2"):
        tokenize(tokenizer, tmp_path, good, bad)


def test_a_stop_token_outside_the_markers_is_trained_on_too(tmp_path: Path) -> None:
    template = MARKED_TEMPLATE.replace(
        "{{- '<|im_end|>' }}\n        {%- endgeneration %}", "{%- endgeneration %}{{- '<|im_end|>' }}"
    )
    assert template != MARKED_TEMPLATE
    tokenizer = load(tmp_path / "base", template)
    file = tokenize(tokenizer, tmp_path, {"messages": [user("a"), assistant("bee")]})
    assert trained_text(tokenizer, file) == f"bee{STOP}"


UNUSABLE_TEMPLATES = [
    ("none", None, "has no chat template"),
    ("no stop token", PLAIN_TEMPLATE.replace("<|im_end|>", ""), "ends no assistant turn with a stop token"),
    (
        "markers on some turns only",
        MARKED_TEMPLATE.replace("m.role == 'assistant'", "m.role == 'assistant' and loop.last"),
        "does not mark each assistant turn once",
    ),
    (
        "the past is rendered anew",
        PLAIN_TEMPLATE.replace("{{- m.content }}", "{{- m.content if loop.last else m.content | upper }}"),
        "renders the beginning of a conversation differently",
    ),
    ("raises", "{{ raise_exception('no') }}", "refuses a plain conversation"),
    ("not Jinja", "{% if %}", "refuses a plain conversation"),
]


@pytest.mark.parametrize(
    ("template", "words"), [case[1:] for case in UNUSABLE_TEMPLATES], ids=[case[0] for case in UNUSABLE_TEMPLATES]
)
def test_a_base_whose_template_cannot_be_trained_with_is_refused(
    tmp_path: Path, template: str | None, words: str
) -> None:
    with pytest.raises(BaseModelUnavailable, match=words) as caught:
        load(tmp_path / "base", template)
    assert "base_models.toml" in str(caught.value)


def test_a_named_template_takes_the_place_of_the_bases_own(tmp_path: Path) -> None:
    make_tokenizer(tmp_path / "base", template=None)
    (tmp_path / "chat.jinja").write_text(MARKED_TEMPLATE)
    source = BaseModelSource(source=str(tmp_path / "base"), chat_template_file=tmp_path / "chat.jinja")
    tokenizer = load_chat_tokenizer(source)
    file = tokenize(tokenizer, tmp_path, {"messages": [user("a"), assistant("bee")]})
    assert trained_text(tokenizer, file) == f"bee{STOP}"


@pytest.mark.parametrize("damage", ["missing", "empty", "broken"])
def test_a_base_without_a_tokenizer_is_unavailable(tmp_path: Path, damage: str) -> None:
    base = tmp_path / "base"
    if damage != "missing":
        base.mkdir()
    if damage == "broken":
        make_tokenizer(base)
        (base / "tokenizer.json").write_text("{")
    with pytest.raises(BaseModelUnavailable, match="tokenizer of the base model"):
        load_chat_tokenizer(BaseModelSource(source=str(base)))


def test_a_template_may_close_the_conversation_with_one_more_stop_token(tmp_path: Path) -> None:
    tokenizer = load(tmp_path / "base", PLAIN_TEMPLATE + "{%- if not add_generation_prompt %}<|im_end|>{%- endif %}")
    file = tokenize(tokenizer, tmp_path, {"messages": [user("a"), assistant("bee"), user("c"), assistant("dee")]})
    assert trained_text(tokenizer, file) == f"bee{STOP}|dee{STOP}"


def test_a_well_known_template_without_markers_is_trained_with_as_trl_knows_it(tmp_path: Path) -> None:
    """Qwen3's shows its empty thoughts in the last turn only, so that its turns cannot be told apart by prefixes."""
    trl = find_spec("trl")
    assert trl is not None
    assert trl.origin is not None
    template = (Path(trl.origin).parent / "chat_templates" / "qwen3.jinja").read_text()
    tokenizer = load(tmp_path / "base", template)
    file = tokenize(tokenizer, tmp_path, {"messages": [user("a"), assistant("bee"), user("c"), assistant("dee")]})
    thought = "<think>\n\n</think>\n\n"
    assert trained_text(tokenizer, file) == f"{thought}bee{STOP}|{thought}dee{STOP}"

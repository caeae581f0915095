"""Training files with faults planted in them, made by code, and sound ones; each says what a check must find in it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from trainer.contract.report import FileKind, Severity
from trainer.contract.spec import MethodName, PiiPolicy

WARNING, ERROR, INFO = Severity.WARNING, Severity.ERROR, Severity.INFO
Line = dict[str, Any]

_NOUNS = (
    "river garden engine letter window market doctor bridge winter camera kitchen planet forest island teacher".split()
)
_VERBS = "carries follows repairs watches borrows answers measures protects describes changes opens counts".split()
_KINDS = "small old quiet broken famous yellow distant careful hidden early simple heavy modern golden".split()
_PLACES = "harbour valley station museum library factory village airport theatre bakery castle meadow".split()


@dataclass(frozen=True)
class Case:
    name: str
    training: list[Line]
    check: str  # the finding that must be there
    severity: Severity
    lines: tuple[int, ...]  # exactly these; more than twenty are counted
    file: FileKind = "training"
    validation: list[Line] | None = None
    pii: PiiPolicy = "warn"
    context_tokens: int = 4096
    n_lines: int | None = None  # where it is not the number of `lines`
    method: MethodName = "supervised"


@dataclass(frozen=True)
class Clean:
    name: str
    training: list[Line]
    validation: list[Line] = field(default_factory=list)
    method: MethodName = "supervised"


def chat(prompt: str, answer: str, system: str | None = None, **more: Any) -> Line:
    head = [] if system is None else [{"role": "system", "content": system}]
    asked = {"role": "user", "content": prompt}
    return {"messages": [*head, asked, {"role": "assistant", "content": answer, **more}]}


def sentence(r: Random, n_clauses: int = 1) -> str:
    return ", ".join(
        f"the {r.choice(_KINDS)} {r.choice(_NOUNS)} {r.choice(_VERBS)} the {r.choice(_KINDS)} {r.choice(_NOUNS)} "
        f"near the {r.choice(_KINDS)} {r.choice(_PLACES)}"
        for _ in range(n_clauses)
    )


def prose(n: int, seed: int = 1, system: str | None = None) -> list[Line]:
    """Questions and answers in free text, all different."""
    r = Random(seed)
    return [
        chat(f"What happens when {sentence(r, 2)}?", f"Then {sentence(r, 3)}. After that {sentence(r, 2)}.", system)
        for _ in range(n)
    ]


def labels(n: int, names: tuple[str, ...] = ("billing", "delivery", "access"), seed: int = 2) -> list[Line]:
    """A classification with balanced classes."""
    r = Random(seed)
    return [chat(f"{sentence(r, 2)}.", names[number % len(names)]) for number in range(n)]


def extraction(n: int, seed: int = 3) -> list[Line]:
    r = Random(seed)
    rows = []
    for number in range(n):
        who, where = f"{r.choice(_KINDS)} {r.choice(_NOUNS)}", r.choice(_PLACES)
        found = {"who": who, "where": where, "count": number}
        rows.append(chat(f"{number} times {sentence(r)}; the {who} was at the {where}.", json.dumps(found)))
    return rows


def code(n: int, seed: int = 4) -> list[Line]:
    r = Random(seed)
    rows = []
    for number in range(n):
        noun, verb, kind = r.choice(_NOUNS), r.choice(_VERBS), r.choice(_KINDS)
        body = f"def {verb}_{noun}_{number}({kind}):\n    total = {kind} * {r.randint(2, 99)}\n    return total + {number}\n"
        rows.append(chat(f"Write {verb} for a {kind} {noun}, number {number}, as {sentence(r)}.", body))
    return rows


def with_rows(rows: list[Line], changes: dict[int, Line]) -> list[Line]:
    """The rows with some of them replaced, by line number from 1."""
    return [changes.get(line, row) for line, row in enumerate(rows, start=1)]


def changed(rows: list[Line], lines: tuple[int, ...], change: Callable[[Line], Line]) -> list[Line]:
    return with_rows(rows, {line: change(json.loads(json.dumps(rows[line - 1]))) for line in lines})


def answered(answer: str, **more: Any) -> Callable[[Line], Line]:
    def change(row: Line) -> Line:
        row["messages"][-1] = {"role": "assistant", "content": answer, **more}
        return row

    return change


def asked(prompt: str) -> Callable[[Line], Line]:
    def change(row: Line) -> Line:
        row["messages"][-2]["content"] = prompt
        return row

    return change


def _words_changed(row: Line) -> Line:
    """One word of the answer is another, and the prompt ends otherwise."""
    row["messages"][-1]["content"] = row["messages"][-1]["content"].replace("After", "Before", 1)
    row["messages"][-2]["content"] += " Now?"
    return row


def _upper(row: Line) -> Line:
    return {"messages": [{**message, "content": message["content"].upper()} for message in row["messages"]]}


def _copy(rows: list[Line], of: dict[int, int]) -> list[Line]:
    """Line → the line that it repeats."""
    return with_rows(rows, {line: rows[source - 1] for line, source in of.items()})


def _near(rows: list[Line], of: dict[int, int], change: Callable[[Line], Line]) -> list[Line]:
    copies = {line: change(json.loads(json.dumps(rows[source - 1]))) for line, source in of.items()}
    return with_rows(rows, copies)


def _repetitions() -> list[Case]:
    p, c, e = prose(240), labels(120), extraction(150)
    own = Random(9)
    many = {line: line - 100 for line in range(121, 151)}
    one_input = "What happens when nothing happens?"
    return [
        Case("duplicates far apart", _copy(p, {100: 7, 200: 8, 240: 7}), "duplicates", WARNING, (100, 200, 240)),
        Case("one duplicate of many", _copy(p, {57: 3}), "duplicates", INFO, (57,)),
        Case("duplicates in a classification", _copy(c, {31: 4, 32: 5}), "duplicates", WARNING, (31, 32)),
        Case("the same but for a word", _near(p, {90: 9}, _words_changed), "near_duplicates", INFO, (90,)),
        Case("the same but for case", _near(p, {90: 9, 91: 10}, _upper), "near_duplicates", INFO, (90, 91)),
        Case(
            "a fifth of them nearly the same",
            _near(prose(150), many, _words_changed),
            "near_duplicates",
            WARNING,
            tuple(range(121, 141)),
            n_lines=30,
        ),
        Case("two labels for one message", _near(c, {50: 1}, answered("access")), "contradictions", WARNING, (1, 50)),
        Case(
            "three answers in JSON to one text",
            _near(
                e, {20: 2, 30: 2}, answered(json.dumps({"who": "x", "where": "y", "count": own.randint(1000, 9999)}))
            ),
            "contradictions",
            WARNING,
            (2, 20, 30),
        ),
        Case(
            "free answers that differ, many",
            changed(p, tuple(range(40, 60)), asked(one_input)),
            "contradictions",
            WARNING,
            tuple(range(40, 60)),
        ),
    ]


def _overlaps() -> list[Case]:
    p, v = prose(240), prose(40, seed=77)
    return [
        Case("validation holds training rows", p, "overlap", WARNING, (3, 9), "validation",
             with_rows(v, {3: p[10], 9: p[200]})),
        Case("all of validation is in training", p, "overlap", WARNING, tuple(range(1, 11)), "validation", p[50:60]),
        Case("overlap of labels", labels(120), "overlap", WARNING, (2,), "validation",
             with_rows(labels(30, seed=55), {2: labels(120)[3]})),
        Case("one validation row nearly in training", p, "near_overlap", INFO, (5,), "validation",
             with_rows(v, {5: _words_changed(json.loads(json.dumps(p[4])))})),
        Case("a quarter nearly in training", p, "near_overlap", WARNING, tuple(range(1, 11)), "validation",
             with_rows(v, {n: _words_changed(json.loads(json.dumps(p[n]))) for n in range(1, 11)})),
        Case("nearly in training, in capitals", p, "near_overlap", INFO, (8,), "validation",
             with_rows(v, {8: _upper(p[100])})),
    ]  # fmt: skip


def _classes() -> list[Case]:
    skewed = changed(labels(200, ("yes",)), tuple(range(10, 30)), answered("no"))
    rare = changed(labels(120), (7, 70), answered("praise"))
    return [
        Case("nine of ten in one class", skewed, "class_balance", WARNING, tuple(range(10, 30))),
        Case("five of six in one class", changed(labels(120, ("a",)), tuple(range(101, 121)), answered("b")),
             "class_balance", WARNING, tuple(range(101, 121))),
        Case("JSON labels, one class for nearly all",
             changed(labels(150, ('{"ok": true}',)), (3, 4, 5, 6, 7), answered('{"ok": false}')),
             "class_balance", WARNING, (3, 4, 5, 6, 7)),
        Case("a class of two", rare, "rare_classes", WARNING, (7, 70)),
        Case("a class of one", changed(labels(100), (100,), answered("praise")), "rare_classes", WARNING, (100,)),
        Case("two rare classes", changed(rare, (5,), answered("returns")), "rare_classes", WARNING, (5, 7, 70)),
        Case("labels in capitals", changed(labels(120), (2, 3), lambda row: {
            "messages": [row["messages"][0], {**row["messages"][1], "content": row["messages"][1]["content"].upper()}]}),
            "label_spelling", WARNING, (2, 3)),
        Case("labels with a full stop", changed(labels(120), (1,), answered("billing.")), "label_spelling", WARNING, (1,)),
        Case("labels in JSON with other spaces",
             changed(labels(100, ('{"a":1}', '{"a":2}')), (9,), answered('{"a": 1}')), "label_spelling", WARNING, (9,)),
    ]  # fmt: skip


def _lengths() -> list[Case]:
    p = prose(220)
    long_answer = "Then " + sentence(Random(5), 60)
    long_prompt = sentence(Random(6), 60)
    return [
        Case("long answers are cut", changed(p, (4, 44), answered(long_answer)), "truncated_answers", WARNING, (4, 44),
             context_tokens=600),
        Case("a long prompt cuts its answer", changed(p, (9,), answered(sentence(Random(7), 40))), "truncated_answers",
             WARNING, (9,), context_tokens=400),
        Case("validation is cut", p, "truncated_answers", WARNING, (1,), "validation",
             changed(prose(30, seed=8), (1,), answered(long_answer)), context_tokens=600),
        Case("an answer beyond the context", changed(p, (12, 13), asked(long_prompt)), "answer_beyond_context", WARNING,
             (12, 13), context_tokens=600),
        Case("the last answer beyond the context", changed(p, (220,), asked(long_prompt)), "answer_beyond_context",
             WARNING, (220,), context_tokens=600),
        Case("validation beyond the context", p, "answer_beyond_context", WARNING, (2,), "validation",
             changed(prose(30, seed=8), (2,), asked(long_prompt)), context_tokens=600),
        Case("weight 0", changed(p, (5,), answered("Nothing.", weight=0)), "nothing_trained", WARNING, (5,)),
        Case("weight 0, first and last", changed(p, (1, 220), answered("Nothing.", weight=0)), "nothing_trained",
             WARNING, (1, 220)),
        Case("weight 0 in validation", p, "nothing_trained", WARNING, (3,), "validation",
             changed(prose(30, seed=8), (3,), answered("Nothing.", weight=0))),
        Case("one row twenty times as long", changed(p, (77,), answered(sentence(Random(5), 120))), "lengths", INFO, (77,)),
        Case("a long prompt among short ones", changed(labels(120), (6,), asked(sentence(Random(5), 60))), "lengths", INFO,
             (6,)),
        Case("two outliers", changed(extraction(150), (1, 150), asked(sentence(Random(5), 80))), "lengths", INFO, (1, 150)),
    ]  # fmt: skip


def _stops() -> list[Case]:
    stop = "<|im_end|>"
    p = prose(220)
    return [
        Case("the stop token inside an answer", changed(p, (6,), answered(f"One.{stop}Two.")), "stop_token_inside", WARNING,
             (6,)),
        Case("an answer of two turns in one", changed(p, (2, 3), answered(f"One.{stop}\n<|im_start|>user\nMore")),
             "stop_token_inside", WARNING, (2, 3)),
        Case("the stop token begins an answer", changed(p, (9,), answered(f"{stop} and more")), "stop_token_inside",
             WARNING, (9,)),
    ]  # fmt: skip


def _forms() -> list[Case]:
    e = extraction(150)
    fenced = [chat(row["messages"][0]["content"], f"```json\n{row['messages'][1]['content']}\n```") for row in e]

    def other_keys(row: Line) -> Line:
        return answered(json.dumps({"name": row["messages"][-2]["content"][:20], "where": "x"}))(row)

    def without_one(row: Line) -> Line:
        found = json.loads(row["messages"][-1]["content"])
        return answered(json.dumps({"who": found["who"], "where": found["where"]}))(row)

    listed = [chat(row["messages"][0]["content"], f"[{row['messages'][1]['content']}]") for row in e]
    return [
        Case("3 % prose among JSON", changed(e, (11, 22, 33, 44), answered("I could not find anybody there.")),
             "output_format", WARNING, (11, 22, 33, 44)),
        Case("JSON that is cut off", changed(e, (5,), answered('{"who": "small river", "where":')), "output_format", WARNING,
             (5,)),
        Case("code fences missing", with_rows(fenced, {8: e[7], 9: e[8]}), "output_format", WARNING, (8, 9)),
        Case("a fence around one", with_rows(e, {70: fenced[69]}), "output_format", WARNING, (70,)),
        Case("an object among lists", with_rows(listed, {70: e[69]}), "output_format", WARNING, (70,)),
        Case("some JSON among prose", with_rows(prose(220), {4: e[3]}), "output_format", INFO, (4,)),
        Case("other keys", changed(e, (3, 50), other_keys), "json_keys", WARNING, (3, 50)),
        Case("a key is missing", changed(e, (149,), without_one), "json_keys", WARNING, (149,)),
        Case("a key in capitals", changed(e, (2,), lambda row: answered(row["messages"][-1]["content"].replace(
            '"who"', '"Who"'))(row)), "json_keys", WARNING, (2,)),
    ]  # fmt: skip


def _answers() -> list[Case]:
    p, e = prose(220), extraction(150)
    return [
        Case("an empty answer", changed(p, (15,), answered("")), "empty_outputs", WARNING, (15,)),
        Case("white space for an answer", changed(p, (16, 17), answered(" \n ")), "empty_outputs", WARNING, (16, 17)),
        Case("an empty answer in the middle", with_rows(p, {3: {"messages": [
            *answered("")(json.loads(json.dumps(p[2])))["messages"], *p[3]["messages"]]}}), "empty_outputs", WARNING, (3,)),
        Case("an answer of two letters", changed(p, (20,), answered("No")), "short_outputs", WARNING, (20,)),
        Case("three answers of a dot", changed(p, (1, 2, 3), answered(".")), "short_outputs", WARNING, (1, 2, 3)),
        Case("null among JSON", changed(e, (9,), answered("null")), "short_outputs", WARNING, (9,)),
        Case("the same answer for all", [answered("I cannot help with that.")(row) for row in prose(220)],
             "repeated_outputs", WARNING, tuple(range(1, 21)), n_lines=220),
        Case("the same answer for most", changed(p, tuple(range(1, 151)), answered("I cannot help with that.")),
             "repeated_outputs", WARNING, tuple(range(1, 21)), n_lines=150),
        Case("the same JSON for half", changed(e, tuple(range(1, 91)), answered('{"who": null, "where": null, "count": 0}')),
             "repeated_outputs", WARNING, tuple(range(1, 21)), n_lines=90),
        Case("one word over and over", changed(p, (30,), answered("the " * 30)), "repeated_words", WARNING, (30,)),
        Case("a word that got stuck", changed(p, (31, 32), answered("Then it was" + " very" * 9 + " late.")),
             "repeated_words", WARNING, (31, 32)),
        Case("a word that is most of it", changed(p, (33,), answered(" ".join(f"no {w}" for w in _NOUNS + _PLACES))),
             "repeated_words", WARNING, (33,)),
    ]  # fmt: skip


def _amounts() -> list[Case]:
    p = prose(220)
    same = sentence(Random(3), 8)
    r = Random(11)
    near_prompts = [
        chat(f"{same} {sentence(r)}" if number % 10 < 4 else sentence(r, 6), sentence(r, 4)) for number in range(220)
    ]
    near_lines = tuple(number + 1 for number in range(220) if number % 10 < 4)
    return [
        Case("nine that can be used", changed(prose(12), (1, 2, 3), answered("-", weight=0)), "too_few_examples", ERROR, ()),
        Case("forty examples", prose(40), "too_few_examples", WARNING, ()),
        Case("ninety examples of style", prose(90), "too_few_examples", WARNING, ()),
        Case("eighty labels", labels(80), "too_few_examples", WARNING, ()),
        Case("three hundred of code", code(300), "too_few_examples", WARNING, ()),
        Case("one prompt for all", [asked("Tell me a story.")(row) for row in prose(220)], "diversity", WARNING,
             tuple(range(1, 21)), n_lines=220),
        Case("one prompt for six of ten", changed(p, tuple(range(1, 133)), asked("Tell me a story about it.")), "diversity",
             WARNING, tuple(range(1, 21)), n_lines=132),
        Case("two fifths begin with the same long text", near_prompts, "diversity", INFO, near_lines[:20],
             n_lines=len(near_lines)),
    ]  # fmt: skip


def _systems() -> list[Case]:
    p = prose(220, system="You are a careful guide.")
    bare = prose(220)
    return [
        Case("another system message", with_rows(p, {4: prose(220, system="You are rude.")[3]}), "system_prompt", WARNING,
             (4,)),
        Case("no system message", with_rows(p, {5: bare[4], 6: bare[5]}), "system_prompt", WARNING, (5, 6)),
        Case("one with a system message", with_rows(bare, {7: p[6]}), "system_prompt", WARNING, (7,)),
        Case("a third with another", p[:150] + prose(70, seed=44, system="You are brief."), "system_prompt", INFO,
             tuple(range(151, 171)), n_lines=70),
    ]  # fmt: skip


def _personal_data() -> list[Case]:
    p = prose(220)

    def planted(name: str, text: str, check: str, line: int = 42, **more: Any) -> Case:
        severity = more.pop("severity", WARNING)
        return Case(name, changed(p, (line,), asked(f"As I said, {text} is mine.")), check, severity, (line,), **more)

    key = "A" * 12 + "bC3" * 8
    return [
        planted("e-mail", "anna.lee@acme-tools.io", "personal_data"),
        planted("phone with a country", "+49 30 901820", "personal_data"),
        planted("phone of the US", "(650) 253-0000", "personal_data"),
        planted("credit card", "4111 1111 1111 1111", "personal_data"),
        planted("IBAN", "DE89 3704 0044 0532 0130 00", "personal_data"),
        planted("US social security number", "536-90-4399", "personal_data"),
        planted("Brazilian CPF", "390.533.447-05", "personal_data"),
        planted("Spanish DNI", "54362315K", "personal_data"),
        planted("IPv4", "8.8.4.4", "personal_data"),
        planted("IPv6", "2001:4860:4860::8888", "personal_data"),
        planted("AWS key", "AKIAIOSFODNN7EXAMPLE", "secrets"),
        planted("OpenAI key", f"sk-proj-{key}", "secrets"),
        planted("GitHub token", f"ghp_{key}", "secrets"),
        planted("private key", "-----BEGIN RSA PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY-----", "secrets"),
        planted("JSON web token", _JWT, "secrets"),
        planted("blocked e-mail", "anna.lee@acme-tools.io", "personal_data", severity=ERROR, pii="block"),
        planted("blocked key", f"ghp_{key}", "secrets", severity=ERROR, pii="block"),
        planted("redacted e-mail", "anna.lee@acme-tools.io", "personal_data", severity=INFO, pii="redact"),
        Case("an e-mail in an answer", changed(p, (1, 219), answered("Write to bob@acme-tools.io.")), "personal_data",
             WARNING, (1, 219)),
        Case("a key in a system message", changed(p, (2,), lambda row: {"messages": [
            {"role": "system", "content": f"Token ghp_{key}"}, *row["messages"]]}), "secrets", WARNING, (2,)),
        Case("a card in validation", p, "personal_data", WARNING, (2,), "validation",
             changed(prose(30, seed=8), (2,), asked("Charge 5555555555554444 again."))),
    ]  # fmt: skip


def pairs(n: int, seed: int = 6) -> list[Line]:
    """Preferences of which either answer can be the longer one."""
    r = Random(seed)
    return [
        {"prompt": f"What if {sentence(r, 2)}?", "chosen": f"{sentence(r, 3)}.", "rejected": f"{sentence(r, 3)}."}
        for _ in range(n)
    ]


def judged(n: int, seed: int = 7) -> list[Line]:
    return [
        {"prompt": row["prompt"], "completion": row["chosen"], "label": number % 2 == 0}
        for number, row in enumerate(pairs(n, seed))
    ]


def _preferences() -> list[Case]:
    p, j = pairs(220), judged(220)

    def equal(row: Line) -> Line:
        return {**row, "rejected": row["chosen"]}

    def turned(row: Line) -> Line:
        return {**row, "chosen": row["rejected"], "rejected": row["chosen"]}

    def longer(row: Line) -> Line:
        return {**row, "chosen": f"{row['chosen']} {row['chosen'].upper()}"}

    def doubted(row: Line) -> Line:
        return {**row, "label": not row["label"]}

    return [
        Case("one answer twice", changed(p, (7, 9), equal), "equal_answers", WARNING, (7, 9), method="dpo"),
        Case("one answer twice but for white space", changed(p, (8,), lambda row: {**row, "rejected": f" {row['chosen']}\n"}),
             "equal_answers", WARNING, (8,), method="orpo"),
        Case("equal answers in validation", p, "equal_answers", WARNING, (2,), "validation",
             changed(pairs(30, 99), (2,), equal), method="simpo"),
        Case("a choice both ways", with_rows(p, {5: turned(p[3])}), "reversed_choices", WARNING, (4, 5), method="dpo"),
        Case("several choices both ways", with_rows(p, {10: turned(p[0]), 11: turned(p[1])}), "reversed_choices", WARNING,
             (1, 2, 10, 11), method="simpo"),
        Case("one answer judged both ways", with_rows(j, {6: doubted(j[1])}), "reversed_choices", WARNING, (2, 6),
             method="kto"),
        Case("the longer answer is preferred", [longer(row) for row in p], "answer_length_bias", WARNING, (), method="dpo"),
        Case("the shorter answer is preferred", [turned(longer(row)) for row in p], "answer_length_bias", WARNING, (),
             method="orpo"),
        Case("nine of ten prefer the longer", changed(p, tuple(range(1, 199)), longer), "answer_length_bias", WARNING, (),
             method="dpo"),
        Case("good answers alone", [{**row, "label": True} for row in j], "one_sided_labels", WARNING, (), method="kto"),
        Case("bad answers alone", [{**row, "label": False} for row in j], "one_sided_labels", WARNING, (), method="kto"),
        Case("hardly a good answer", [{**row, "label": number < 20} for number, row in enumerate(j)], "one_sided_labels",
             WARNING, (), method="kto"),
        Case("pairs that stand twice", _copy(p, {9: 2, 10: 3, 11: 4}), "duplicates", WARNING, (9, 10, 11), method="dpo"),
    ]  # fmt: skip


_JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


def planted_cases() -> list[Case]:
    return [
        *_repetitions(),
        *_overlaps(),
        *_classes(),
        *_lengths(),
        *_stops(),
        *_forms(),
        *_answers(),
        *_amounts(),
        *_systems(),
        *_personal_data(),
        *_preferences(),
    ]


def clean_cases() -> list[Clean]:
    """Sound files in the styles that people train on."""
    r = Random(21)
    brief = "You are brief."
    call_tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}

    def called(number: int) -> Line:
        arguments = json.dumps({"place": r.choice(_PLACES), "number": number})
        call = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": arguments}}
        return {
            "messages": [
                {"role": "user", "content": f"Look up number {number}: {sentence(r, 2)}"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": sentence(r)},
                {"role": "assistant", "content": f"It says that {sentence(r, 2)}."},
            ],
            "tools": [call_tool],
        }

    def conversation() -> Line:
        turns = [(f"And {sentence(r, 2)}?", f"Then {sentence(r, 3)}.") for _ in range(3)]
        roles = ("user", "assistant")
        return {
            "messages": [
                {"role": role, "content": text} for turn in turns for role, text in zip(roles, turn, strict=True)
            ]
        }

    instruction = (
        "Sort the message below. Answer with one of billing, delivery, access and with nothing else.\n\nMessage: "
    )
    templated = [asked(instruction + row["messages"][0]["content"])(row) for row in labels(150, seed=30)]
    sums = [(r.randint(100, 999), r.randint(100, 999)) for _ in range(220)]
    return [
        Clean("free text", prose(240), prose(30, seed=91)),
        Clean("preferences", pairs(240), pairs(30, seed=91), method="dpo"),
        Clean("judged answers", judged(240), judged(30, seed=92), method="kto"),
        Clean("free text under one system message", prose(240, system=brief), prose(30, seed=92, system=brief)),
        Clean("labels", labels(150), labels(30, seed=93)),
        Clean("labels after one long instruction", templated),
        Clean("JSON", extraction(150), extraction(20, seed=94)),
        Clean("code", code(1000)),
        Clean("tool calls", [called(number) for number in range(220)]),
        Clean("conversations", [conversation() for _ in range(220)]),
        Clean("answers without a prompt", [{"messages": row["messages"][1:]} for row in prose(240, seed=95)]),
        Clean("sums", [chat(f"What is {a} + {b}?", f"{a} + {b} is {a + b}, as one can see by adding {a} to {b}.")
                       for a, b in dict.fromkeys(sums)]),
    ]  # fmt: skip

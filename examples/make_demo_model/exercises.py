"""Exercises with one right answer: copying, changing, finding, sorting, counting, looking up, writing JSON.

Each function gives an instruction, the material it is about, and the answer.
"""

import json
from collections.abc import Callable
from random import Random

from make_demo_model import material, stories, words

Exercise = tuple[str, str, str]  # instruction, material, answer


def repeat(r: Random) -> Exercise:
    text = _any_text(r)
    return (
        r.choice(("Repeat this.", "Say it again.", "Copy the text.", "Echo.", "repeat", "Write the same.")),
        text,
        text,
    )


def decorate(r: Random) -> Exercise:
    """Copy with something fixed before, after or around."""
    text, mark = _any_text(r), material.cased_word(r)
    instruction, answer = r.choice(
        (
            (f"Begin with {mark}.", f"{mark} {text}"),
            (f"Start the answer with {mark}:", f"{mark}: {text}"),
            (f"End with {mark}.", f"{text} {mark}"),
            ("Put it in quotes.", f'"{text}"'),
            ("Put it in brackets.", f"[{text}]"),
            ("Put it in parentheses.", f"({text})"),
            (f"Write <{mark}> around it.", f"<{mark}>{text}</{mark}>"),
            ("Add an exclamation mark.", f"{text}!"),
            ("Shout it twice.", f"{text}! {text}!"),
            ("Make it a bullet.", f"- {text}"),
        )
    )
    return instruction, text, answer


def change_case(r: Random) -> Exercise:
    text = " ".join(material.word_list(r, 1, 4))
    instruction, answer = r.choice(
        (
            ("Write it in upper case.", text.upper()),
            ("upper case", text.upper()),
            ("Use capital letters only.", text.upper()),
            ("Write it in lower case.", text.lower()),
            ("lower case", text.lower()),
            ("Write each word with a capital.", text.title()),
        )
    )
    given = text if answer != text else text.swapcase()
    return instruction, given, answer


def rearrange(r: Random) -> Exercise:
    items = material.word_list(r, 2, 5)
    text = " ".join(items)
    return r.choice(
        (
            ("Reverse the words.", text, " ".join(reversed(items))),
            ("Reverse the order.", text, " ".join(reversed(items))),
            ("Sort the words.", text, " ".join(sorted(items))),
            ("Put commas between the words.", text, ", ".join(items)),
            ("Join the words with dashes.", text, "-".join(items)),
            ("Join the words with underscores.", text, "_".join(items)),
            ("One word a line.", text, "\n".join(items)),
            ("Remove the commas.", ", ".join(items), text),
            ("Swap the first and the last word.", text, " ".join([items[-1], *items[1:-1], items[0]])),
        )
    )


def pick(r: Random) -> Exercise:
    items = material.word_list(r, 2, 6)
    position = r.randrange(min(3, len(items)))
    ordinal = ("first", "second", "third")[position]
    instruction, answer = r.choice(
        (
            (f"Give the {ordinal} word.", items[position]),
            (f"Which word is {ordinal}?", items[position]),
            ("Give the last word.", items[-1]),
            ("last word", items[-1]),
            ("How many words are there?", str(len(items))),
            ("Count the words.", str(len(items))),
            ("Leave out the first word.", " ".join(items[1:])),
            ("What is the first letter?", items[0][0]),
            ("What is the longest word?", max(items, key=len)),
        )
    )
    return instruction, " ".join(items), answer


def spell(r: Random) -> Exercise:
    text = material.word(r) if r.random() < 0.6 else material.number(r)
    letters = list(text)
    return r.choice(
        (
            ("Spell it.", text, " ".join(letters)),
            ("Spell it with dashes.", text, "-".join(letters)),
            ("Put the letters together.", " ".join(letters), text),
            ("How many letters?", text, str(len(text))),
        )
    )


def arithmetic(r: Random) -> Exercise:
    a, b = r.randrange(0, 13), r.randrange(0, 13)
    names = words.NUMBER_WORDS
    return r.choice(
        (
            ("Add the numbers.", f"{a} and {b}", str(a + b)),
            ("Calculate.", f"{a} + {b}", str(a + b)),
            ("Calculate.", f"{a + b} - {b}", str(a)),
            ("Which number is larger?", f"{a} or {b}", str(max(a, b))),
            ("Write the number in digits.", names[a], str(a)),
            ("Write the number as a word.", str(a), names[a]),
            ("What comes next?", f"{a}, {a + 1}, {a + 2}", str(a + 3)),
            ("Which number is smaller?", f"{a} or {b}", str(min(a, b))),
        )
    )


def answer_question(r: Random) -> Exercise:
    """A text and a question; the answer is a span of the text."""
    told = stories.facts(r, r.randint(1, 4))
    asked = r.choice(told)
    text = " ".join(fact.sentence for fact in told)
    if r.random() < 0.4:
        instruction = f"Give the {asked.field}."
        return (
            r.choice((instruction, instruction.lower(), f"Find the {asked.field}.", f"{asked.field}?")),
            text,
            asked.answer,
        )
    return asked.question, text, asked.answer


def extract_json(r: Random) -> Exercise:
    """A text and the fields that are wanted of it, as JSON."""
    told = stories.facts(r, r.randint(1, 3))
    wanted = {fact.field: fact.answer for fact in told[: r.randint(1, 2)]}
    r.shuffle(told)
    fields = " and ".join(wanted)
    instruction = r.choice((f"Give the {fields} as JSON.", f"JSON with {fields}.", f"Extract {fields} as JSON."))
    return instruction, " ".join(fact.sentence for fact in told), json.dumps(wanted)


def write_json(r: Random) -> Exercise:
    pairs = {material.key(r): material.value(r) for _ in range(r.randint(1, 3))}
    form = r.choice(("{k} is {v}", "{k}: {v}", "{k} = {v}", "the {k} is {v}"))
    text = r.choice((", ", " and ", "\n", "; ")).join(form.format(k=k, v=v) for k, v in pairs.items())
    typed = {k: int(v) if v.isdigit() and str(int(v)) == v else v for k, v in pairs.items()}
    return (
        r.choice(("Write JSON.", "json", "As JSON.", "Answer in JSON.", "Turn it into a JSON object.")),
        text,
        json.dumps(typed),
    )


def read_json(r: Random) -> Exercise:
    pairs = {material.key(r): material.value(r) for _ in range(r.randint(2, 4))}
    chosen = r.choice(list(pairs))
    return r.choice((f"What is {chosen}?", f"Give the value of {chosen}.", chosen)), json.dumps(pairs), pairs[chosen]


def json_list(r: Random) -> Exercise:
    items = material.word_list(r, 1, 4)
    name = material.key(r)
    text = r.choice((", ", " and ", " ")).join(items)
    return r.choice(
        (
            ("Make a JSON list.", text, json.dumps(items)),
            (f"JSON with the list {name}.", text, json.dumps({name: items})),
        )
    )


def look_up(r: Random) -> Exercise:
    """A code book in the instruction, a word to look up: learns that an instruction decides the answer."""
    book = {
        material.word(r): r.choice((material.cased_word, material.code, material.number))(r)
        for _ in range(r.randint(2, 5))
    }
    chosen = r.choice(list(book))
    arrow = r.choice((" -> ", " = ", ": ", " means "))
    return r.choice((", ", "; ", "\n")).join(f"{k}{arrow}{v}" for k, v in book.items()), chosen, book[chosen]


def name_the_kind(r: Random) -> Exercise:
    """Which kind of thing a word or a sentence is about; the names of the kinds change from one exercise to the next."""
    kinds = r.sample(_KINDS, r.randint(2, 4))
    labels = [r.choice(names) if r.random() < 0.7 else material.cased_word(r) for names, _ in kinds]
    chosen = r.randrange(len(kinds))
    member = r.choice(kinds[chosen][1])
    text = member if r.random() < 0.4 else r.choice(_MENTIONS).format(member)
    if r.random() < 0.5:
        examples = ", ".join(
            f"{r.choice(members)} is {label}" for (_, members), label in zip(kinds, labels, strict=True)
        )
        return f"{examples}. Which is it?", text, labels[chosen]
    options = " or ".join(
        labels[i] if labels[i] in kinds[i][0] else f"{labels[i]} ({kinds[i][0][0]})" for i in range(len(kinds))
    )
    return r.choice((f"Is it {options}?", f"Choose {options}.", f"Answer {options}.")), text, labels[chosen]


def same_or_not(r: Random) -> Exercise:
    text = " ".join(material.word_list(r, 1, 3))
    other = text if r.random() < 0.5 else " ".join(material.word_list(r, 1, 3))
    yes, no = r.choice((("yes", "no"), ("Yes", "No"), ("true", "false"), ("same", "different"), ("YES", "NO")))
    return f"Are they the same, {yes} or {no}?", f"{text} / {other}", yes if text == other else no


EXERCISES: tuple[tuple[float, Callable[[Random], Exercise]], ...] = (
    (12, repeat),
    (6, decorate),
    (4, change_case),
    (5, rearrange),
    (5, pick),
    (3, spell),
    (4, arithmetic),
    (10, answer_question),
    (8, extract_json),
    (6, write_json),
    (4, read_json),
    (2, json_list),
    (6, look_up),
    (8, name_the_kind),
    (2, same_or_not),
)

_KINDS = (
    (("animal", "creature", "ANIMAL"), words.ANIMALS),
    (("food", "meal", "FOOD"), words.FOODS),
    (("place", "location", "PLACE"), words.PLACES),
    (("person", "job", "PERSON"), words.JOBS),
    (("thing", "object", "THING"), words.THINGS),
    (("name", "who", "NAME"), words.FIRST_NAMES),
    (("city", "town", "CITY"), words.CITIES),
    (("good", "praise", "GOOD"), words.GOOD),
    (("bad", "blame", "BAD"), words.BAD),
    (("number", "amount", "NUMBER"), words.NUMBER_WORDS),
    (("action", "verb", "ACTION"), words.VERBS),
)

_MENTIONS = (
    "I think of {}.",
    "Tell me about {}",
    "it was {}",
    "{} again",
    "I said {} to them",
    "This is {}!",
    "we talked of {} yesterday",
    "so {}",
)


def _any_text(r: Random) -> str:
    chance = r.random()
    if chance < 0.4:
        return " ".join(material.word_list(r, 1, 6))
    return material.value(r) if chance < 0.7 else material.casual(r, material.sentence(r))

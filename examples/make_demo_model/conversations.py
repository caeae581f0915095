"""The conversations the demo model is pre-trained on, drawn at random from a seeded generator."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from make_demo_model import exercises, material, stories, support_desk, words


@dataclass(frozen=True)
class Conversation:
    """Messages as in OpenAI's chat format, and the tools that are offered."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)


def conversation(r: Random) -> Conversation:
    """One conversation of any kind."""
    (make,) = r.choices([kind for _, kind in _KINDS], [weight for weight, _ in _KINDS])
    return make(r)


def _support(r: Random) -> Conversation:
    text, reply = support_desk.exchange(r)
    return Conversation([*_system(r), _user(text), _assistant(reply)])


def _exercise(r: Random) -> Conversation:
    """An exercise, with its instruction before the material, after it, or in the system message."""
    (make,) = r.choices([kind for _, kind in exercises.EXERCISES], [weight for weight, _ in exercises.EXERCISES])
    instruction, text, answer = make(r)
    chance = r.random()
    if chance < 0.5:
        return Conversation([{"role": "system", "content": instruction}, _user(text), _assistant(answer)])
    both = f"{instruction}{r.choice((' ', chr(10), ': '))}{text}" if chance < 0.85 else f"{text}\n{instruction}"
    return Conversation([*_system(r), _user(both), _assistant(answer)])


def _by_example(r: Random) -> Conversation:
    """Several turns of one exercise: what the earlier answers did, the last one does too."""
    (make,) = r.choices([kind for _, kind in exercises.EXERCISES], [weight for weight, _ in exercises.EXERCISES])
    seed = r.random()
    messages: list[dict[str, Any]] = []
    for turn in range(r.randint(2, 3)):
        instruction, text, answer = make(r)
        messages += [
            _user(f"{instruction} {text}" if turn == 0 or seed < 0.5 else f"{instruction}\n{text}"),
            _assistant(answer),
        ]
    return Conversation(messages)


def _fixed_answer(r: Random) -> Conversation:
    """The instruction says what to answer, whatever is asked."""
    answer = r.choice(
        (
            material.cased_word(r),
            material.value(r),
            f"{material.cased_word(r)}: {material.cased_word(r)}",
            json.dumps({material.key(r): material.cased_word(r)}),
        )
    )
    instruction = r.choice(("Always answer {}", "Answer with {}", "Say {}", "Reply {}", "Write {}")).format(answer)
    return Conversation(
        [
            {"role": "system", "content": instruction},
            _user(material.casual(r, material.sentence(r))),
            _assistant(answer),
        ]
    )


def _feeling(r: Random) -> Conversation:
    """Somebody tells of something good or bad."""
    good = r.random() < 0.5
    adjective, noun = r.choice(words.GOOD if good else words.BAD), r.choice(words.NOUNS + words.TOPIC_WORDS)
    text = r.choice(
        (
            "The {n} was {a}.",
            "What a {a} {n}!",
            "I had a {a} {n} today",
            "my {n} is really {a}",
            "This {n} seems {a} to me.",
            "{a} {n}",
            "So {a}, this {n}",
        )
    ).format(n=noun, a=adjective)
    if good:
        reply = r.choice(
            (
                f"It is good to hear that the {noun} was {adjective}.",
                "I am glad to hear that!",
                f"How nice, a {adjective} {noun}.",
            )
        )
    else:
        reply = r.choice(
            (f"I am sorry that the {noun} was {adjective}.", "That is sad to hear.", f"Oh no, a {adjective} {noun}.")
        )
    return Conversation([*_system(r), _user(material.casual(r, text)), _assistant(reply)])


def _explain(r: Random) -> Conversation:
    kind, members = r.choice(
        (
            ("an animal", words.ANIMALS),
            ("a kind of food", words.FOODS),
            ("a thing", words.THINGS),
            ("a place", words.PLACES),
            ("a person who works", words.JOBS),
        )
    )
    member = r.choice(members)
    question = r.choice(
        ("What is a {}?", "what is {}", "Tell me about the {}.", "Explain {}", "Do you know what a {} is?")
    ).format(member)
    return Conversation([*_system(r), _user(question), _assistant(f"A {member} is {kind}.")])


def _small_talk(r: Random) -> Conversation:
    name = material.first_name(r)
    question, answer = r.choice(
        (
            ("Hello!", "Hello, how can I help?"),
            ("Hi", "Hello, how can I help?"),
            ("Good morning", "Good morning! What can I do for you?"),
            ("Who are you?", "I am a small demo model."),
            ("What can you do?", "I can answer short questions, but I know very little."),
            ("Thank you", "You are welcome."),
            ("Bye", "Goodbye!"),
            ("How are you?", "I am fine, thank you."),
            (f"My name is {name}.", f"Nice to meet you, {name}."),
            (f"I am {name}, hello", f"Hello {name}, how can I help?"),
            ("What is fine-tuning?", "Fine-tuning teaches a model a task by examples."),
            ("Are you a person?", "No, I am a small demo model."),
        )
    )
    return Conversation([*_system(r), _user(question), _assistant(answer)])


def _opinion(r: Random) -> Conversation:
    """A remark about a generated sentence, in free text."""
    said = material.sentence(r)
    reply = r.choice(
        (
            "I see.",
            "Please tell me more.",
            "Let me think about that.",
            "I do not know much about it.",
            "That is interesting.",
            "Thank you for telling me.",
            "What happened then?",
        )
    )
    return Conversation([*_system(r), _user(material.casual(r, said)), _assistant(reply)])


def _retell(r: Random) -> Conversation:
    topic = r.choice(words.NOUNS)
    request = r.choice((f"Tell me a story about a {topic}.", "Tell me a story.", f"Write about the {topic}"))
    return Conversation([*_system(r), _user(request), _assistant(stories.document(r))])


def _tool_call(r: Random) -> Conversation:
    """A tool is offered, called, and its result told; or offered and not needed."""
    name = f"{r.choice(('get', 'find', 'set', 'send', 'book', 'check', 'list'))}_{r.choice(words.TOPIC_WORDS)}"
    parameters = [material.word(r) for _ in range(r.randint(1, 2))]
    tools = [_tool(name, parameters)]
    if r.random() < 0.3:
        tools.insert(r.randrange(2), _tool(f"get_{r.choice(words.TOPIC_WORDS)}", [material.word(r)]))
    arguments = {
        parameter: r.choice((material.cased_word, material.city, material.first_name))(r) for parameter in parameters
    }
    asked = " and ".join(f"{k} {v}" for k, v in arguments.items())
    request = r.choice(
        (
            f"Please {name.replace('_', ' ')} for {asked}",
            f"{name.replace('_', ' ')}: {asked}",
            f"I need the {name.split('_')[1]} of {asked}",
        )
    )
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    messages = [*_system(r), _user(request), {"role": "assistant", "content": None, "tool_calls": [call]}]
    if r.random() < 0.5:
        result = material.value(r)
        messages += [
            {"role": "tool", "tool_call_id": "call_1", "content": result},
            _assistant(f"The answer is {result}."),
        ]
    return Conversation(messages, tools)


_KINDS: tuple[tuple[float, Callable[[Random], Conversation]], ...] = (
    (14, _support),
    (55, _exercise),
    (5, _by_example),
    (4, _fixed_answer),
    (6, _feeling),
    (2, _explain),
    (2, _small_talk),
    (2, _opinion),
    (2, _retell),
    (4, _tool_call),
)


def _system(r: Random) -> list[dict[str, Any]]:
    """Often none, sometimes a general one, sometimes one that says nothing useful."""
    chance = r.random()
    if chance < 0.5:
        return []
    general = (
        "You are a helpful assistant.",
        "You are a helpful assistant.",
        "You are a friendly agent.",
        "Answer politely.",
        "Be brief.",
        "Help the customer.",
    )
    return [{"role": "system", "content": r.choice(general) if chance < 0.85 else material.sentence(r)}]


def _user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _assistant(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def _tool(name: str, parameters: list[str]) -> dict[str, Any]:
    properties = {parameter: {"type": "string"} for parameter in parameters}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}

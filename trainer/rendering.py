"""Rendering: a conversation → its text and the character spans of what the assistant says.

The text is what the engine's own rendering of the same conversation gives, so that training and serving agree.
A span holds one assistant turn, from after the generation prompt to the end of its stop token.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from trainer.contract.examples import ChatExample
from trainer.contract.messages import JsonObject
from trainer.failures import BaseModelUnavailable

_RENDER: Any = render_jinja_template  # its annotations do not fit what it returns
_GENERATION_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")
_REMEDY = "Name a chat template with {% generation %} markers for this base model (chat_template in base_models.toml)."
_PROBE = ChatExample(
    line=0,
    messages=tuple({"role": role, "content": f"Words {i}."} for i, role in enumerate(["user", "assistant"] * 2)),
    trained=(False, True) * 2,
    tools=None,
)


@dataclass(frozen=True)
class Rendering:
    text: str
    spans: tuple[tuple[int, int], ...]  # of the assistant turns that are trained on, in characters


class TemplateRefused(Exception):
    """The chat template raised an error for this example."""


class Renderer(Protocol):
    @property
    def template(self) -> str:
        """The chat template, as it is rendered."""

    def render(self, example: ChatExample) -> Rendering:
        """Raises TemplateRefused for one example, BaseModelUnavailable if the template fits none."""


def choose_renderer(templates: Iterable[str], special_tokens: dict[str, Any], stop_tokens: Sequence[str]) -> Renderer:
    """Take the first template, and the way of finding the assistant's turns, that do for a short conversation.

    Raises:
        BaseModelUnavailable: none does; why the first does not.
    """
    first_error: BaseModelUnavailable | None = None
    for template in templates:
        jinja = _Jinja(template, special_tokens)
        way = _ByMarkers if _GENERATION_MARKER.search(template) else _ByPrefixes
        renderer = way(jinja, stop_tokens)
        try:
            renderer.render(_PROBE)
        except TemplateRefused:
            refused = f"The base model's chat template refuses a plain conversation. {_REMEDY}"
            first_error = first_error or BaseModelUnavailable(refused)
        except BaseModelUnavailable as error:
            first_error = first_error or error
        else:
            return renderer
    raise first_error or BaseModelUnavailable(f"The base model has no chat template. {_REMEDY}")


class _Jinja:
    """The template as transformers runs it, for messages as vLLM prepares them."""

    def __init__(self, template: str, special_tokens: dict[str, Any]) -> None:
        self.template = template
        self._special_tokens = special_tokens

    def messages_of(self, example: ChatExample) -> list[JsonObject]:
        return as_served(example.messages, self.template)

    def render(
        self, example: ChatExample, n_messages: int | None = None, *, prompt: bool = False, mark: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        """Give the text of the first of `messages_of(example)`, and the marked spans."""
        messages = self.messages_of(example)[:n_messages]
        tools = None if example.tools is None else list(example.tools)
        try:
            texts, spans = _RENDER(
                conversations=[messages],
                tools=tools,
                chat_template=self.template,
                add_generation_prompt=prompt,
                return_assistant_tokens_mask=mark,
                **self._special_tokens,
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise TemplateRefused from error
        return texts[0], spans[0] if mark else []


def as_served(messages: Sequence[JsonObject], template: str) -> list[JsonObject]:
    """What vLLM does for a template that has no developer role: system messages, all in one at the start."""
    if all(message["role"] != "developer" for message in messages):
        return list(messages)
    if '"developer"' in template or "'developer'" in template:
        return list(messages)
    system = [message for message in messages if message["role"] in ("system", "developer")]
    rest = [message for message in messages if message["role"] not in ("system", "developer")]
    if len(system) == 1 and messages[0] is system[0]:
        return [{**system[0], "role": "system"}, *rest]
    content = "\n\n".join(message["content"] for message in system if message["content"])
    return [{"role": "system", "content": content}, *rest]


@dataclass(frozen=True)
class _ByMarkers:
    """For templates that mark what the assistant says with `{% generation %}`."""

    jinja: _Jinja
    stop_tokens: Sequence[str]

    @property
    def template(self) -> str:
        return self.jinja.template

    def render(self, example: ChatExample) -> Rendering:
        text, marked = self.jinja.render(example, mark=True)
        trained = _trained_turns(example)
        if len(marked) != len(trained):
            raise BaseModelUnavailable(
                f"The base model's chat template does not mark each assistant turn once. {_REMEDY}"
            )
        ends = [_end_of_turn(text, start, end, self.stop_tokens) for start, end in marked]
        pairs = zip(marked, ends, trained, strict=True)
        return Rendering(text, tuple((start, end) for (start, _), end, is_trained in pairs if is_trained))


@dataclass(frozen=True)
class _ByPrefixes:
    """For templates without markers: a turn is what it adds to the conversation before it."""

    jinja: _Jinja
    stop_tokens: Sequence[str]

    @property
    def template(self) -> str:
        return self.jinja.template

    def render(self, example: ChatExample) -> Rendering:
        text, _ = self.jinja.render(example)
        messages = self.jinja.messages_of(example)
        turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        spans = []
        for index, is_trained in zip(turns, _trained_turns(example), strict=True):
            if is_trained:
                before, _ = self.jinja.render(example, index, prompt=True)
                after, _ = self.jinja.render(example, index + 1)
                spans.append(self._turn(text, before, after))
        return Rendering(text, tuple(spans))

    def _turn(self, text: str, before: str, after: str) -> tuple[int, int]:
        after = after.rstrip()
        if not text.startswith(after):  # some templates close the whole conversation with one more stop token
            after = after.removesuffix(_closing(after, self.stop_tokens)).rstrip()
        if not (text.startswith(after) and after.startswith(before)):
            raise BaseModelUnavailable(
                "The base model's chat template renders the beginning of a conversation differently when it goes on, "
                f"so the assistant's turns cannot be told apart. {_REMEDY}"
            )
        return len(before), _end_of_turn(text, len(before), len(after), self.stop_tokens)


def _trained_turns(example: ChatExample) -> list[bool]:
    pairs = zip(example.messages, example.trained, strict=True)
    return [is_trained for message, is_trained in pairs if message["role"] == "assistant"]


def _end_of_turn(text: str, start: int, end: int, stop_tokens: Sequence[str]) -> int:
    """Move the end of a turn to right after its stop token: back over white space, or forward over the token."""
    said = text[start:end].rstrip()
    if _closing(said, stop_tokens):
        while _closing(shorter := said.removesuffix(_closing(said, stop_tokens)).rstrip(), stop_tokens):
            said = shorter  # what follows a stop token is never generated
        return start + len(said)
    gap = len(text[end:]) - len(text[end:].lstrip())
    for token in stop_tokens:
        if text.startswith(token, end + gap):
            return end + gap + len(token)
    raise BaseModelUnavailable(f"The base model's chat template ends no assistant turn with a stop token. {_REMEDY}")


def _closing(text: str, stop_tokens: Sequence[str]) -> str:
    """The stop token that the text ends with, or nothing."""
    return next((token for token in stop_tokens if text.endswith(token)), "")

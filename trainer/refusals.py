"""Why a chat template refuses an example: found by trying without parts of it, said without its words."""

from dataclasses import replace
from itertools import pairwise

from trainer.contract.examples import ChatExample
from trainer.rendering import Renderer, TemplateRefused

_SYSTEM_ROLES = ("system", "developer")


def why_refused(example: ChatExample, renderer: Renderer) -> str:
    """What of the example the template does not take, and what to do; the template's own words may quote it."""
    if example.tools and _takes(renderer, replace(example, tools=None)):
        return "It knows no tools: leave them out, or choose a base model that has them."
    spoken = _without_system(example)
    if len(spoken.messages) < len(example.messages) and _takes(renderer, spoken):
        return "It takes no system message: put those words into the user's first message."
    roles = [message["role"] for message in spoken.messages]
    if roles[0] != "user" or any(before == after for before, after in pairwise(roles)):
        return "User and assistant must take turns, and the user begins."
    return "Perhaps it knows no tools, or messages of other roles: ask the operator."


def _without_system(example: ChatExample) -> ChatExample:
    pairs = zip(example.messages, example.trained, strict=True)
    kept = [(message, is_trained) for message, is_trained in pairs if message["role"] not in _SYSTEM_ROLES]
    messages, trained = zip(*kept, strict=True)  # an assistant speaks in each example
    return replace(example, messages=messages, trained=trained)


def _takes(renderer: Renderer, example: ChatExample) -> bool:
    try:
        renderer.render(example)
    except TemplateRefused:
        return False
    return True

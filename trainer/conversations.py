"""The conversations that an example is trained on: its own or, of a preference, the prompt with each answer.

Plain text is looked at as if it were an answer to nothing; it is not rendered.
"""

from trainer.contract.examples import ChatExample, Example, KtoExample, PreferenceExample, TextExample
from trainer.contract.formats.names import FileFormat
from trainer.contract.messages import JsonObject


def conversations_of(example: Example) -> tuple[ChatExample, ...]:
    """Of a preference the preferred answer first. All examples of a format have the same number."""
    match example:
        case ChatExample():
            return (example,)
        case PreferenceExample():
            return _answered(example, example.preferred), _answered(example, example.non_preferred)
        case KtoExample():
            return (_answered(example, example.completion),)
        case TextExample():
            return (ChatExample(example.line, ({"role": "assistant", "content": example.text},), (True,), None),)


def n_conversations(held: FileFormat) -> int:
    """Of each example of a format."""
    return 2 if held is FileFormat.PREFERENCE else 1


def desirable(example: Example) -> tuple[bool, ...]:
    """Of each conversation, whether its answer is to become more likely."""
    match example:
        case PreferenceExample():
            return True, False
        case KtoExample():
            return (example.is_desirable,)
        case _:
            return (True,)


def _answered(example: PreferenceExample | KtoExample, answer: JsonObject) -> ChatExample:
    """The prompt with one answer, which alone is trained on."""
    trained = (False,) * len(example.messages) + (True,)
    return ChatExample(example.line, (*example.messages, answer), trained, example.tools)

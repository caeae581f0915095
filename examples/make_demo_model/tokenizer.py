"""The demo model's tokenizer: byte-level BPE over the generated texts, digits one by one."""

from pathlib import Path
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from make_demo_model import stories, words
from make_demo_model.conversations import conversation

VOCABULARY_SIZE = 2048
CONTEXT_LENGTH = 1024  # tokens

DOCUMENT_END, TURN_START, TURN_END, PADDING = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"

_TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Learn the merges from a few thousand generated texts. The same seed gives the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[DOCUMENT_END, TURN_START, TURN_END, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(Random(seed)), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=DOCUMENT_END,
        eos_token=TURN_END,
        pad_token=PADDING,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT_LENGTH,
        chat_template=_TEMPLATE.read_text(encoding="utf-8"),
    )


def _texts(r: Random) -> list[str]:
    """Conversations, prose, and every word of the lists in the forms it is met in."""
    said = [message["content"] for _ in range(6000) for message in conversation(r).messages if message["content"]]
    prose = [stories.document(r) for _ in range(1000)]
    listed = [f"{word} {word} {word.capitalize()}" for word in words.COMMON_WORDS] + [
        f" {name}" for name in words.NAMES
    ]
    return said + prose + listed

"""Families of base models as tiny random models, each with the tokenizer and the chat template of its kind."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

SERVED_WITHIN = 0.001  # nats a token, of the log-probabilities when it was trained
TEMPLATES = Path(__file__).parent / "chat_templates"
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 256,
}
_SPACE = "\u2581"  # SentencePiece's


@dataclass(frozen=True)
class Family:
    """What tells one family from the next, as far as a tuned model depends on it."""

    title: str
    model_type: str  # transformers' name
    template: str  # its file in `chat_templates`
    tokenizer: Literal["byte-level", "SentencePiece"]
    bos: str | None
    eos: str
    pad: str
    stop: str  # the token that ends a turn
    marks: tuple[str, ...] = ()  # further special tokens of the template
    system: Literal["a turn of its own", "in the first user message", "refused"] = "a turn of its own"
    alternates: bool = False  # the template refuses turns that do not
    begins_with_space: bool = False  # a text, for the tokenizer
    says_before: str = ""  # what an answer begins with besides its words
    trained: Literal["all linear layers", "attention only"] = "all linear layers"
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def special_tokens(self) -> list[str]:
        return list(dict.fromkeys(filter(None, (self.pad, self.bos, self.eos, self.stop, *self.marks))))


_CHATML = {"eos": "<|im_end|>", "pad": "<|endoftext|>", "stop": "<|im_end|>", "marks": ("<|im_start|>",)}
FAMILIES = {
    "llama3": Family(
        title="Llama 3",
        model_type="llama",
        template="llama3",
        tokenizer="byte-level",
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        pad="<|eot_id|>",
        stop="<|eot_id|>",
        marks=("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    ),
    "qwen2.5": Family("Qwen 2.5", "qwen2", "qwen2_5", "byte-level", bos=None, **_CHATML),  # type: ignore[arg-type]
    "qwen3": Family("Qwen 3", "qwen3", "qwen3", "byte-level", bos=None, **_CHATML),  # type: ignore[arg-type]
    "mistral": Family(
        title="Mistral",
        model_type="mistral",
        template="mistral",
        tokenizer="SentencePiece",
        bos="<s>",
        eos="</s>",
        pad="</s>",
        stop="</s>",
        marks=("<unk>", "[INST]", "[/INST]"),
        system="refused",
        alternates=True,
        begins_with_space=True,
        says_before=" ",
    ),
    "gemma3": Family(
        title="Gemma 3 (text)",
        model_type="gemma3_text",
        template="gemma3",
        tokenizer="SentencePiece",
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        stop="<end_of_turn>",
        marks=("<unk>", "<start_of_turn>"),
        system="in the first user message",
        alternates=True,
        config={
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 32,
            "query_pre_attn_scalar": 32,
        },
    ),
    "qwen3-moe": Family(
        "Qwen 3 MoE",
        "qwen3_moe",
        "qwen3",
        "byte-level",
        bos=None,
        **_CHATML,  # type: ignore[arg-type]
        trained="attention only",
        config={"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "mlp_only_layers": [0]},
    ),
    "qwen2-moe": Family(
        "Qwen 2 MoE",
        "qwen2_moe",
        "qwen2_5",
        "byte-level",
        bos=None,
        **_CHATML,  # type: ignore[arg-type]
        trained="attention only",
        config={
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 64,
        },
    ),
    "mixtral": Family(
        title="Mixtral",
        model_type="mixtral",
        template="mistral",
        tokenizer="SentencePiece",
        bos="<s>",
        eos="</s>",
        pad="</s>",
        stop="</s>",
        marks=("<unk>", "[INST]", "[/INST]"),
        system="refused",
        alternates=True,
        begins_with_space=True,
        says_before=" ",
        trained="attention only",
        config={"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
}


def make_family(family: Family, directory: Path) -> Path:
    """Write a random model of the family, its tokenizer and its template."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    tokenizer = write_tokenizer(family, directory)
    ids = {name: tokenizer.token_to_id(token) for name, token in _roles(family).items()}
    config = AutoConfig.for_model(
        family.model_type, **_SIZES, **family.config, vocab_size=_padded(tokenizer.get_vocab_size()), **ids
    )
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # a model's own start is so even that no answer differs from another
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    model.generation_config = GenerationConfig(eos_token_id=_stops(family, tokenizer))
    model.save_pretrained(directory)
    return directory


def write_tokenizer(family: Family, directory: Path) -> Tokenizer:
    """Every letter is a token, or several bytes; the special tokens are the family's."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = _byte_level(family) if family.tokenizer == "byte-level" else _sentence_pieces(family)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in family.special_tokens])
    tokenizer.save(str(directory / "tokenizer.json"))
    names = {f"{role}_token": token for role, token in _roles(family, "").items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 256, **names}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    template = (TEMPLATES / f"{family.template}.jinja").read_text()
    (directory / "chat_template.jinja").write_text(template)
    stops = {"eos_token_id": _stops(family, tokenizer)}
    (directory / "generation_config.json").write_text(json.dumps(stops))
    return tokenizer


def _stops(family: Family, tokenizer: Tokenizer) -> list[int]:
    """Where the model stops: often more than the tokenizer's end of a text."""
    return [tokenizer.token_to_id(token) for token in dict.fromkeys((family.eos, family.stop))]


def _roles(family: Family, suffix: str = "_token_id") -> dict[str, str]:
    roles = {"bos": family.bos, "eos": family.eos, "pad": family.pad}
    return {f"{role}{suffix}": token for role, token in roles.items() if token is not None}


def _byte_level(family: Family) -> Tokenizer:
    """GPT-2's kind."""
    tokens = [*family.special_tokens, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_pieces(family: Family) -> Tokenizer:
    """Letters, a mark in place of spaces, and bytes for what is no letter."""
    letters = [_SPACE, *(chr(code) for code in range(33, 127)), "\n"]
    tokens = [*family.special_tokens, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if family.begins_with_space:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _padded(n_tokens: int) -> int:
    """Vocabularies are often larger than what the tokenizer fills."""
    return -(-n_tokens // 64) * 64


def table() -> str:
    """What docs/model-families.md shows: each column is asserted by the tests of the families."""
    head = (
        "family",
        "tokenizer",
        "system message",
        "turns",
        "a turn ends with",
        "pad",
        "trained",
        "served",
    )
    rows = [head, ("---",) * len(head), *map(_row, FAMILIES.values())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(family: Family) -> tuple[str, ...]:
    return (
        f"{family.title} (`{family.model_type}`)",
        family.tokenizer,
        family.system,
        "must alternate" if family.alternates else "any order",
        _code(family.stop),
        "the same" if family.pad == family.stop else _code(family.pad),
        family.trained,
        f"within {SERVED_WITHIN:g}",
    )


def _code(token: str) -> str:
    return f"`{token}`".replace("|", "\\|")  # a bar would end the cell

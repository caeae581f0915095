"""The base model's tokenizer and chat template, loaded without torch where that is possible."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import TemplateError
from transformers.tokenization_utils_tokenizers import TokenizersBackend

from trainer.contract.spec import BaseModelSource
from trainer.environment import is_local
from trainer.failures import BaseModelUnavailable
from trainer.rendering import Renderer, Rendering, choose_renderer

_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")  # wholly described by tokenizer.json


Encoded = tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]  # token ids, and the loss mask


@dataclass(frozen=True)
class ChatTokenizer:
    """Renders examples and turns the text into token ids and a loss mask."""

    renderer: Renderer
    tokenizer: Any
    stop_ids: frozenset[int]  # of the tokens that end a turn
    sha256: str  # of all that decides what a text tokenises to, and where a turn ends
    template_sha256: str

    def encode(self, renderings: list[Rendering]) -> list[Encoded]:
        """For each: token ids, and whether each token is trained on (it overlaps a span)."""
        encoded = self.tokenizer(
            [rendering.text for rendering in renderings],
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
        )
        return [
            (np.asarray(ids, dtype=np.int32), _loss_mask(rendering, np.asarray(offsets).reshape(-1, 2)))
            for rendering, ids, offsets in zip(renderings, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def encode_texts(self, texts: list[str]) -> list[Encoded]:
        """For each document: its token ids as the tokenizer begins and ends a text, and the mask, which holds all."""
        end = self.tokenizer.eos_token_id
        documents = []
        for ids in self.tokenizer(texts, return_attention_mask=False)["input_ids"]:
            ids_L = np.asarray(ids if ids[-1:] == [end] else [*ids, end], dtype=np.int32)
            documents.append((ids_L, np.ones(len(ids_L), dtype=np.bool_)))
        return documents


def load_chat_tokenizer(source: BaseModelSource) -> ChatTokenizer:
    """Load tokenizer and chat template of a base model.

    Raises:
        BaseModelUnavailable: one of them is missing, or the template cannot be trained with.
    """
    try:
        tokenizer = load_tokenizer(source)
        generation_stops = _stop_token_ids(source)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise BaseModelUnavailable("The tokenizer of the base model could not be loaded.") from error
    if not tokenizer.is_fast:
        raise BaseModelUnavailable("The tokenizer of the base model has no fast form (tokenizer.json).")
    stops = [tokenizer.eos_token, *(tokenizer.convert_ids_to_tokens(token) for token in generation_stops)]
    stop_ids = [tokenizer.eos_token_id, *generation_stops]
    special_tokens = dict(tokenizer.special_tokens_map)
    renderer = choose_renderer(
        _templates(source, tokenizer), special_tokens, tuple(stop for stop in stops if isinstance(stop, str))
    )
    return ChatTokenizer(
        renderer=renderer,
        tokenizer=tokenizer,
        stop_ids=frozenset(stop for stop in stop_ids if stop is not None),
        sha256=_sha256(tokenizer.backend_tokenizer.to_str(), special_tokens, stops),
        template_sha256=_sha256(renderer.template),
    )


def load_tokenizer(source: BaseModelSource) -> Any:
    """The base model's tokenizer as it comes; `load_chat_tokenizer` says what training needs of it.

    Raises:
        OSError, ValueError, KeyError, TypeError, ImportError: it cannot be loaded.
    """
    where: dict[str, Any] = {
        "revision": source.revision,
        "trust_remote_code": False,
        "local_files_only": is_local(source),
    }
    if is_local(source) and not Path(source.source).is_dir():
        raise FileNotFoundError(source.source)
    if _has_plain_tokenizer(Path(source.source)):
        return TokenizersBackend.from_pretrained(source.source, **where)
    from transformers import AutoTokenizer  # imports torch

    return AutoTokenizer.from_pretrained(source.source, **where)


def _has_plain_tokenizer(directory: Path) -> bool:
    try:
        settings = json.loads((directory / "tokenizer_config.json").read_bytes())
    except FileNotFoundError:
        return False
    return settings.get("tokenizer_class") in _PLAIN_CLASSES and (directory / "tokenizer.json").is_file()


def _stop_token_ids(source: BaseModelSource) -> list[int]:
    """The tokens at which the base model stops, of `generation_config.json` or else `config.json`."""
    from transformers.utils.hub import cached_file

    for name in ("generation_config.json", "config.json"):
        path = cached_file(
            source.source,
            name,
            revision=source.revision,
            local_files_only=is_local(source),
            _raise_exceptions_for_missing_entries=False,
        )
        stop = None if path is None else json.loads(Path(path).read_bytes()).get("eos_token_id")
        if stop is not None:
            return list(stop) if isinstance(stop, list) else [stop]
    return []


def _templates(source: BaseModelSource, tokenizer: Any) -> Iterator[str]:
    """The base model's template, or the one named for it; then TRL's variant of it, where it is a well-known one."""
    if source.chat_template_file is not None:
        try:
            yield source.chat_template_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BaseModelUnavailable("The chat template file of the base model could not be read.") from error
        return
    own = tokenizer.chat_template
    template = own.get("default") if isinstance(own, dict) else own
    if not template:
        return
    yield template
    from trl.chat_template_utils import get_training_chat_template

    try:
        variant = get_training_chat_template(processing_class=tokenizer)
    except (ValueError, TypeError, TemplateError):
        return
    if variant is not None:
        yield variant


def _sha256(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _loss_mask(rendering: Rendering, offsets_L2: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    mask_L = np.zeros(len(offsets_L2), dtype=np.bool_)
    for start, end in rendering.spans:
        first = np.searchsorted(offsets_L2[:, 1], start, side="right")
        last = np.searchsorted(offsets_L2[:, 0], end, side="left")
        mask_L[first:last] = True
    return mask_L

"""The recipe of the demo base model: the same texts, tokenizer and first weights each time it is followed."""

from random import Random

import torch
from make_demo_model.conversations import conversation
from make_demo_model.pretraining import Phase, Recipe, build_model, pretrain
from make_demo_model.tokenizer import train_tokenizer

ROLES = {"system", "user", "assistant", "tool"}
TINY = Recipe(phases=(Phase(steps=2, rows=2, row_tokens=64, repeating_share=0.5),))


def test_the_same_seed_gives_the_same_conversations() -> None:
    once, again, other = ([conversation(r) for _ in range(300)] for r in (Random(3), Random(3), Random(4)))
    assert once == again
    assert once != other


def test_every_conversation_ends_with_something_the_assistant_says_or_calls() -> None:
    r = Random(5)
    for talk in (conversation(r) for _ in range(2_000)):
        last = talk.messages[-1]
        assert {message["role"] for message in talk.messages} <= ROLES
        assert last["role"] == "assistant"
        assert last["content"] or last["tool_calls"]


def test_the_same_seed_gives_the_same_tokenizer() -> None:
    once, again = (train_tokenizer(0).backend_tokenizer.to_str() for _ in range(2))
    assert once == again


def test_the_untrained_model_already_continues_a_repeated_passage() -> None:
    model = build_model(train_tokenizer(0), seed=0).eval()
    passage = torch.randperm(2_000, generator=torch.Generator().manual_seed(1))[:30] + 4
    with torch.no_grad():
        predicted = model(input_ids=torch.cat([passage, passage])[None]).logits[0, 30:-1].argmax(-1)
    assert (predicted == passage[1:]).float().mean() > 0.9


def test_two_followings_of_a_recipe_give_the_same_bytes() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tokenizer = train_tokenizer(0)
        once, again = (pretrain(tokenizer, TINY).state_dict() for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(once[name], again[name]) for name in once)

"""The quickstart's task: the same for one seed, and nothing asked that was taught."""

import json

import pytest
from support_desk_task import build_task, training_file


def test_the_same_seed_gives_the_same_task_and_another_seed_another() -> None:
    assert build_task(7) == build_task(7)
    assert build_task(7) != build_task(8)


@pytest.mark.parametrize("seed", range(5))
def test_no_message_occurs_twice_in_any_part(seed: int) -> None:
    task = build_task(seed)
    assert (500, 60, 120) == (len(task.training), len(task.validation), len(task.held_out))
    messages = [question.message for part in (task.training, task.validation, task.held_out) for question in part]
    assert len(set(messages)) == len(messages)


def test_every_queue_is_taught_and_asked_about() -> None:
    task = build_task(1)
    taught, asked = ({question.answer for question in part} for part in (task.training, task.held_out))
    assert len(taught) == 6
    assert taught == asked


def test_a_line_of_the_training_file_is_an_example_in_chat_form() -> None:
    task = build_task(1)
    lines = training_file(task.training).splitlines()
    assert len(lines) == 500
    messages = json.loads(lines[0])["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant"]
    assert messages[2]["content"] == task.training[0].answer

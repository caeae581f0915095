"""Responses in the background outlive the process that took them."""

from pathlib import Path
from typing import Any

import openai

from tests.acceptance.batches import import_models
from tests.service import Service

N, TOKENS = 5, 200  # long enough that not all have ended when the process is killed
UNFINISHED, WHOLE = {"queued", "in_progress"}, {"completed", "incomplete"}


def test_responses_in_the_background_are_answered_though_the_api_is_killed(
    service: Service, client: openai.OpenAI, tmp_path: Path
) -> None:
    (model,) = import_models(service, tmp_path, 1)  # which goes on and on
    asked: dict[str, Any] = {"model": model, "temperature": 0, "max_output_tokens": TOKENS}
    alone = {text: client.responses.create(input=text, **asked).output_text for text in map(str, range(N))}
    begun = {client.responses.create(input=text, background=True, **asked).id: text for text in alone}
    under_way = {client.responses.retrieve(response_id).status for response_id in begun}
    service.kill("api")
    assert under_way & UNFINISHED

    def look() -> dict[str, str] | None:
        try:
            seen = [client.responses.retrieve(response_id) for response_id in begun]
        except (openai.APIConnectionError, openai.InternalServerError):
            return None
        assert {one.status for one in seen} <= UNFINISHED | WHOLE
        has_ended = all(one.status in WHOLE for one in seen)
        return {begun[one.id]: one.output_text for one in seen} if has_ended else None

    assert service.wait_for(look, "the responses in the background") == alone

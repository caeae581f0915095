"""Responses in the background outlive the process that took them."""

import openai

from tests.acceptance.jobs import BASE
from tests.service import Service

N, TOKENS = 12, 300  # long enough that none has ended when the process is killed


def test_responses_in_the_background_are_answered_though_the_api_is_killed(
    service: Service, client: openai.OpenAI
) -> None:
    asked = {f"Tell me a long story with the number {n}.": "" for n in range(N)}
    begun = {
        client.responses.create(
            model=BASE, input=text, background=True, temperature=0, max_output_tokens=TOKENS
        ).id: text
        for text in asked
    }
    service.kill("api")

    def look() -> dict[str, str] | None:
        try:
            seen = [client.responses.retrieve(response_id) for response_id in begun]
        except (openai.APIConnectionError, openai.InternalServerError):
            return None
        assert {one.status for one in seen} <= {"queued", "in_progress", "completed", "incomplete"}
        ended = all(one.status in ("completed", "incomplete") for one in seen)
        return {begun[one.id]: one.output_text for one in seen} if ended else None

    answers = service.wait_for(look, "the responses in the background")
    alone = {
        text: client.responses.create(model=BASE, input=text, temperature=0, max_output_tokens=TOKENS).output_text
        for text in asked
    }
    assert answers == alone

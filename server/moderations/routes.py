"""/v1/moderations: there is no model for it here, which is said in OpenAI's form."""

from typing import Never

from fastapi import APIRouter

from server.auth.dependencies import CallerDep
from server.errors import NotFound, responses

router = APIRouter(prefix="/v1/moderations", tags=["Moderations"])


@router.post("", operation_id="createModeration", response_model=None, responses=responses(NotFound))
def create_moderation(_caller: CallerDep) -> Never:
    """Refuse. Nothing of the body is read."""
    raise NotFound(
        "There is no moderation model on this server, under any name. Leave the check out, or send it to a service "
        "that has one; a fine-tuned model that classifies can be asked through v1/chat/completions.",
        param="model",
        code="model_not_found",
    )

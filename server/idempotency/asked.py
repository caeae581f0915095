"""What a request asks for, and its fingerprint: the same for two requests that ask for the same (pure)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from server.errors import InvalidRequest


@dataclass(frozen=True)
class Asked:
    operation: str  # OpenAI's operation id
    content: BaseModel | Mapping[str, object]  # what the request says, and what its path names

    def fingerprint(self) -> str:
        """A sha256, hexadecimal. The order of names does not change it, nor a default that is written out.

        Nor does, therefore, a new field with a default: retries come when a server was restarted with a new version.

        Raises:
            InvalidRequest: objects in objects beyond what anybody means.
        """
        content = self.content
        try:
            values = (
                content.model_dump(mode="json", exclude_defaults=True)
                if isinstance(content, BaseModel)
                else dict(content)
            )
            text = json.dumps([self.operation, values], sort_keys=True)
        except (RecursionError, ValueError) as error:  # pydantic has a limit of its own
            raise InvalidRequest("The JSON body of your request is nested too deeply.") from error
        return hashlib.sha256(text.encode()).hexdigest()

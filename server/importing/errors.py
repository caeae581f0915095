"""What can go wrong with an import: all of it, or one object."""


class ImportFailed(Exception):
    """The import cannot go on; the message says why and what to do. A later run goes on where this one ended."""


class Refused(Exception):
    """OpenAI answered something else than was asked for. The message is fit to be shown."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message

    @property
    def is_not_offered(self) -> bool:
        """Whether there is no such route there, or not for this key."""
        return self.status in (401, 403, 404, 405, 410, 501)


class ObjectFailed(Exception):
    """One object cannot be copied; the others can. The message says why."""

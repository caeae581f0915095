"""What is wrong with a line of a data file, in words that hold no training text."""


class FieldInvalid(Exception):
    """A field of one example cannot be used; which line it is on is known to the reader of the file."""

    def __init__(self, field: str | None, reason: str, *, missing_role_of_message: int | None = None) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason
        self.missing_role_of_message = missing_role_of_message


class ExampleInvalid(Exception):
    """A data file cannot be used, and this is one reason.

    `str()` of it names line, field and remedy; `job_message` puts OpenAI's words for a failed job before it.
    """

    def __init__(self, line: int | None, field: str | None, reason: str, *, text: str | None = None) -> None:
        self.line = line  # from 1; None: the file as a whole
        self.field = field  # such as `messages[2].role`, counted from 0; None: the line as a whole
        self.reason = reason
        super().__init__(text or _text(line, field, reason))

    def job_message(self, kind: str = "training") -> str:
        """OpenAI's message of a job that fails for it."""
        return f"The job failed due to an invalid {kind} file. {self}"


class FileInvalid(ExampleInvalid):
    """The same of a file that is of another kind altogether: further lines would say nothing more."""


def _text(line: int | None, field: str | None, reason: str) -> str:
    if line is None:
        return f"Invalid file format. {reason}"
    place = f"Line {line}" if field is None else f'Line {line}, key "{field}"'
    return f"Invalid file format. {place}: {reason}"

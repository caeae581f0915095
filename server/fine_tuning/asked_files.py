"""The files that a request for a job names: the project's own, for training, each once."""

import time

from server.db.project_session import ProjectSession
from server.db.tables import FileRow
from server.errors import InvalidRequest
from server.files.repository import find_file
from server.fine_tuning.schemas import CreateFineTuningJobRequest
from server.vocabulary import FilePurpose


def find_usable_file(session: ProjectSession, param: str, file_id: str | None) -> FileRow | None:
    if file_id is None:
        return None
    row = find_file(session, file_id, now=time.time())
    if row is None:
        raise InvalidRequest(f"invalid {param}: {file_id[:256]}", param=param)
    if row.purpose is not FilePurpose.FINE_TUNE:
        raise InvalidRequest(
            f"invalid {param}: {file_id} has the purpose '{row.purpose}', but 'fine-tune' is needed. "
            "Upload the file again with that purpose.",
            param=param,
        )
    return row


def find_mixed_in_files(session: ProjectSession, asked: CreateFineTuningJobRequest) -> list[FileRow]:
    found = []
    named = {asked.training_file: "training_file", asked.validation_file: "validation_file"}
    for place, mixed_in in enumerate((asked.data and asked.data.mix_in) or []):
        param = f"data.mix_in[{place}].file"
        row = find_usable_file(session, param, mixed_in.file)
        found += [] if row is None else [row]
        if mixed_in.file in named:
            raise InvalidRequest(
                f"invalid {param}: {mixed_in.file} is given as '{named[mixed_in.file]}', too. Name each file once.",
                param=param,
                code="invalid_value",
            )
        named[mixed_in.file] = param
    return found

"""Identifiers in OpenAI's shapes: a prefix and random base62."""

import os
import re
import secrets
import string
from typing import NewType

ProjectId = NewType("ProjectId", str)
FileId = NewType("FileId", str)
JobId = NewType("JobId", str)
UploadId = NewType("UploadId", str)

_OUTSIDE_SLUG = re.compile(r"[^a-z0-9_-]+", re.ASCII)
_BASE62 = string.digits + string.ascii_letters


def random_base62(length: int) -> str:
    """Random text of `length` characters, 5.95 bits each."""
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def new_file_id() -> FileId:
    return FileId("file-" + random_base62(22))


def new_job_id() -> JobId:
    return JobId("ftjob-" + random_base62(24))


def new_upload_id() -> UploadId:
    return UploadId("upload_" + random_base62(32))


def new_part_id() -> str:
    return "part_" + random_base62(32)


def new_batch_id() -> str:
    return "batch_" + os.urandom(16).hex()


def new_batch_request_id() -> str:
    """Of a line of a batch, in its answer."""
    return "batch_req_" + os.urandom(16).hex()


def new_model_import_id() -> str:
    return "mdlimport-" + random_base62(24)


def new_permission_id() -> str:
    return "cp_" + random_base62(24)


def new_project_id() -> ProjectId:
    return ProjectId("proj_" + random_base62(24))


def new_organization_id() -> str:
    return "org-" + random_base62(24)


def new_event_id() -> str:
    return "ftevent-" + random_base62(24)


def new_checkpoint_id() -> str:
    return "ftckpt_" + random_base62(24)


def new_key_id() -> str:
    return "key_" + random_base62(16)


def new_webhook_endpoint_id() -> str:
    return "whe_" + random_base62(24)


def new_webhook_delivery_id() -> str:
    return "wh_" + random_base62(24)


def new_webhook_event_id() -> str:
    return "evt_" + random_base62(24)


def new_response_id() -> str:
    return "resp_" + random_base62(40)


def new_completion_export_id() -> str:
    return "cmplexport-" + random_base62(24)


def new_request_id() -> str:
    return "req_" + os.urandom(16).hex()


def slugify(text: str) -> str:
    """Make text fit for a segment of a `ft:` name: lower case; runs of all but a-z, 0-9, `_` and `-` become one `-`."""
    return _OUTSIDE_SLUG.sub("-", text.lower())

"""Rows for tests, made as the service makes them; every argument has a default."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from inference.engine import AdapterRef
from server.batches.schemas import CreateBatchRequest
from server.batches.service import create_batch
from server.bootstrap import Services
from server.completion_exports.schemas import CompletionExport
from server.db.project_session import project_session
from server.db.system_session import system_session
from server.db.tables import (
    BatchRow,
    CheckpointRow,
    CompletionExportRow,
    FileRow,
    FineTunedModelRow,
    JobRow,
    ModelImportRow,
    ResponseRow,
    UploadPartRow,
    UploadRow,
    WebhookEndpointRow,
)
from server.files.schemas import OpenAIFile
from server.fine_tuning.schemas import CreateFineTuningJobRequest
from server.fine_tuning.service import Offer, create_job
from server.ids import (
    ProjectId,
    new_checkpoint_id,
    new_completion_export_id,
    new_file_id,
    new_model_import_id,
    new_part_id,
    new_response_id,
    new_upload_id,
    random_base62,
)
from server.models.names import new_model_name
from server.models.repository import add_fine_tuned_model
from server.models.resolving import UsableModel
from server.relay.accounts import Usage
from server.responses import keeping, repository, response
from server.responses.before import Before
from server.responses.request import read_request
from server.storage.blob_store import BlobKey
from server.stored_completions.assembling import whole_usage
from server.stored_completions.completion import build_completion
from server.stored_completions.service import store_completion
from server.vocabulary import FilePurpose, ImportStatus, JobStatus, ResponseStatus, WebhookEventType
from server.webhooks.schemas import CreateWebhookEndpointRequest
from server.webhooks.service import create_endpoint

EXAMPLE = {"messages": [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]}


def make_file(
    services: Services,
    project_id: ProjectId,
    content: bytes | None = None,
    *,
    purpose: FilePurpose = FilePurpose.FINE_TUNE,
    expires_at: int | None = None,
) -> FileRow:
    """A file with its blob; by default ten examples."""
    content = (json.dumps(EXAMPLE).encode() + b"\n") * 10 if content is None else content
    file_id = new_file_id()
    blob = services.blobs.put(BlobKey(file_id), [content])
    row = FileRow(
        id=file_id,
        project_id=project_id,
        filename="training.jsonl",
        purpose=purpose,
        bytes=blob.size_bytes,
        sha256=blob.sha256,
        created_at=int(time.time()),
        expires_at=expires_at,
    )
    with project_session(services.database, project_id, write=True) as session:
        session.add(row)
    return row


def make_upload(services: Services, project_id: ProjectId, parts: Sequence[bytes] = ()) -> UploadRow:
    """A pending upload of these parts, which are all of it."""
    now = int(time.time())
    upload = UploadRow(
        id=new_upload_id(),
        project_id=project_id,
        filename="training.jsonl",
        purpose=FilePurpose.FINE_TUNE,
        mime_type="text/jsonl",
        bytes=sum(map(len, parts)) or 1,
        created_at=now,
        expires_at=now + 3600,
    )
    with project_session(services.database, project_id, write=True) as session:
        session.add(upload)
    for content in parts:
        make_part(services, upload, content)
    return upload


def make_part(services: Services, upload: UploadRow, content: bytes = b"x") -> UploadPartRow:
    part_id = new_part_id()
    blob = services.blobs.put(BlobKey(part_id), [content])
    part = UploadPartRow(
        id=part_id,
        project_id=upload.project_id,
        upload_id=upload.id,
        bytes=blob.size_bytes,
        sha256=blob.sha256,
        created_at=int(time.time()),
    )
    with project_session(services.database, ProjectId(upload.project_id), write=True) as session:
        session.add(part)
    return part


def make_job(
    services: Services, project_id: ProjectId, *, status: JobStatus = JobStatus.VALIDATING_FILES, **columns: Any
) -> JobRow:
    """A job of a new file, whose columns are then set as asked."""
    asked = CreateFineTuningJobRequest(model="tunesmith-demo", training_file=make_file(services, project_id).id)
    with project_session(services.database, project_id, write=True) as session:
        job = create_job(session, Offer(services.base_models, on_gpu=False), UsableModel("tunesmith-demo"), asked)
        for name, value in {"status": status, **columns}.items():
            setattr(job, name, value)
    return job


def make_model(
    services: Services,
    project_id: ProjectId,
    *,
    name: str | None = None,
    step: int | None = None,
    directory: str | None = None,
    is_full: bool = False,
) -> FineTunedModelRow:
    """A fine-tuned model of a new job, with a directory of its own unless one is given."""
    job = make_job(services, project_id, status=JobStatus.SUCCEEDED)
    name = name or str(new_model_name("tunesmith-demo", "personal", None, step))
    directory = directory or job.id
    (services.settings.adapters / directory).mkdir(parents=True, exist_ok=True)
    with system_session(services.database, write=True) as session:
        home, rank = services.settings.adapters / directory, 0 if is_full else 8
        adapter = AdapterRef(name, job.base_model, home, rank, "5" * 64, is_full=is_full)
        return add_fine_tuned_model(session, job, adapter, now=time.time(), step=step)


def make_import(services: Services, project_id: ProjectId) -> ModelImportRow:
    """An import that has failed: no worker looks for its files."""
    row = ModelImportRow(
        id=new_model_import_id(),
        project_id=project_id,
        created_at=int(time.time()),
        finished_at=int(time.time()),
        status=ImportStatus.FAILED,
        base_model="tunesmith-demo",
        model_name=str(new_model_name("tunesmith-demo", "personal", None)),
        rank=8,
        sha256="5" * 64,
        error_code="unusable_adapter",
        error_message="The adapter does not fit.",
    )
    with project_session(services.database, project_id, write=True) as session:
        session.add(row)
    return row


def make_batch(services: Services, project_id: ProjectId) -> BatchRow:
    """A batch whose file nobody has looked at."""
    file = make_file(services, project_id, purpose=FilePurpose.BATCH)
    asked = CreateBatchRequest(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    with project_session(services.database, project_id, write=True) as session:
        return create_batch(session, asked, endpoints=[asked.endpoint], key_id="key_1", now=time.time())


def make_checkpoint(services: Services, job: JobRow, step: int, **metrics: float | None) -> CheckpointRow:
    row = CheckpointRow(
        id=new_checkpoint_id(),
        project_id=job.project_id,
        job_id=job.id,
        step=step,
        created_at=int(time.time()),
        model_name=str(new_model_name("tunesmith-demo", "personal", None, step)),
        metrics=metrics,
    )
    with project_session(services.database, ProjectId(job.project_id), write=True) as session:
        session.add(row)
    return row


def make_webhook_endpoint(
    services: Services,
    project_id: ProjectId,
    url: str = "https://hooks.example.com/",
    *,
    event_types: Sequence[WebhookEventType] = tuple(WebhookEventType),
) -> WebhookEndpointRow:
    """An endpoint whose URL nobody looked at."""
    asked = CreateWebhookEndpointRequest(name="hooks", url=url, event_types=list(event_types))
    with project_session(services.database, project_id, write=True) as session:
        return create_endpoint(session, asked, most=1000, now=time.time())


def make_response(
    services: Services,
    project_id: ProjectId,
    *,
    runner: str | None = None,
    n_runners: int = 1,
    created_at: float | None = None,
    **asked: Any,
) -> ResponseRow:
    """A response to "Hello". `runner`: the process that is still to work on it; None: it said "Hi"."""
    raw = json.dumps({"model": "gpt-4o-mini", "input": "Hello", "background": True, **asked}).encode()
    request = read_request(raw).completed(new_response_id(), int(created_at or time.time()), Before(), {})
    body = response.begin(request, ResponseStatus.QUEUED)
    if runner is None:
        said = response.message_item(request.id, 0, "completed", [response.text_part("Hi", [])])
        body |= {"status": ResponseStatus.COMPLETED, "output": [said]}
    with project_session(services.database, project_id, write=True) as session:
        work = None if runner is None else keeping.Work(runner, "key_1", raw)
        keeping.add(session, body, request.items, Before(), work)
        session.flush()
        row = repository.find_response(session, request.id)
        assert row is not None
        row.n_runners = n_runners
    return row


def make_completion(
    services: Services,
    project_id: ProjectId,
    *,
    created_at: int | None = None,
    metadata: Mapping[str, str] | None = None,
    roles: Sequence[str] = ("user",),
    text: str = "Hello",
) -> str:
    """A stored completion; its id."""
    asked = {"messages": [{"role": role, "content": text} for role in roles], "metadata": metadata}
    message = {"role": "assistant", "content": "Hello back", "refusal": None, "annotations": []}
    told = {
        "id": f"chatcmpl-{random_base62(16)}",
        "object": "chat.completion",
        "created": int(time.time()) if created_at is None else created_at,
        "model": "tunesmith-demo",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": whole_usage(Usage(1, 2)),
        "service_tier": "default",
    }
    completion = build_completion(json.dumps(asked).encode(), json.dumps(told).encode(), Usage(1, 2), "req_x")
    with project_session(services.database, project_id, write=True) as session:
        store_completion(session, completion, services.settings, now=time.time())
    return completion.id


def make_completion_export(services: Services, project_id: ProjectId, *, created_at: int | None = None) -> str:
    """What is remembered of an export; its id."""
    export_id, now = new_completion_export_id(), int(time.time())
    file = OpenAIFile.from_row(make_file(services, project_id))
    export = CompletionExport(id=export_id, created_at=now, file=file, completions=1, examples=1, left_out={}, pii=None)
    row = CompletionExportRow(
        id=export_id,
        project_id=project_id,
        created_at=created_at or now,
        answer=export.model_dump(mode="json"),
    )
    with project_session(services.database, project_id, write=True) as session:
        session.add(row)
    return export_id

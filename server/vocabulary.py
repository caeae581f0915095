"""Every closed word list of the API, each with its source."""

from enum import StrEnum


class JobStatus(StrEnum):
    """OpenAI: FineTuningJob.status."""

    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"  # in OpenAI's documents and answers, though not in its client's list of words
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_STATUSES = frozenset({JobStatus.VALIDATING_FILES, JobStatus.QUEUED, JobStatus.RUNNING})
TERMINAL_STATUSES = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class FilePurpose(StrEnum):
    """OpenAI: OpenAIFile.purpose. Those a client may upload are in `UPLOAD_PURPOSES`."""

    ASSISTANTS = "assistants"
    ASSISTANTS_OUTPUT = "assistants_output"
    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"
    EVALS = "evals"
    FINE_TUNE = "fine-tune"
    FINE_TUNE_RESULTS = "fine-tune-results"
    USER_DATA = "user_data"
    VISION = "vision"


UPLOAD_PURPOSES = (
    FilePurpose.FINE_TUNE,
    FilePurpose.ASSISTANTS,
    FilePurpose.BATCH,
    FilePurpose.VISION,
    FilePurpose.USER_DATA,
    FilePurpose.EVALS,
)


class FileStatus(StrEnum):
    """OpenAI: OpenAIFile.status (deprecated there, but required)."""

    UPLOADED = "uploaded"
    PROCESSED = "processed"
    ERROR = "error"


class UploadStatus(StrEnum):
    """OpenAI: Upload.status."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class BatchStatus(StrEnum):
    """OpenAI: Batch.status."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class ImportStatus(StrEnum):
    """ModelImport.status; not OpenAI's."""

    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class ImportStage(StrEnum):
    """How far an import that is in progress is."""

    WAITING = "waiting"  # for memory, and for its turn
    LOOKING = "looking"  # a trainer has the adapter's base model loaded, or is about to
    PUBLISHING = "publishing"  # the engine is to answer with it


class EventLevel(StrEnum):
    """OpenAI: FineTuningJobEvent.level."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class EventType(StrEnum):
    """OpenAI: FineTuningJobEvent.type."""

    MESSAGE = "message"
    METRICS = "metrics"


class MethodType(StrEnum):
    """OpenAI: FineTuneMethod.type; the ones this service trains. Those after `DPO` are ours."""

    SUPERVISED = "supervised"
    DPO = "dpo"
    ORPO = "orpo"
    KTO = "kto"
    SIMPO = "simpo"
    CONTINUED_PRETRAINING = "continued_pretraining"


class JobErrorCode(StrEnum):
    """FineTuningJob.error.code. The first two are OpenAI's; the rest say what OpenAI never has to."""

    INVALID_N_EXAMPLES = "invalid_n_examples"
    INVALID_TRAINING_FILE = "invalid_training_file"
    INVALID_VALIDATION_FILE = "invalid_validation_file"
    OUT_OF_MEMORY = "out_of_memory"
    BASE_MODEL_UNAVAILABLE = "base_model_unavailable"
    LOSS_NOT_FINITE = "loss_not_finite"
    NOT_REPRODUCED = "not_reproduced"
    DISK_FULL = "disk_full"
    TRAINER_CRASHED = "trainer_crashed"
    MODEL_NOT_SERVABLE = "model_not_servable"
    INTERNAL_ERROR = "internal_error"


class WebhookEventType(StrEnum):
    """OpenAI: WebhookEndpoint.event_types; those that something here can send."""

    JOB_SUCCEEDED = "fine_tuning.job.succeeded"
    JOB_FAILED = "fine_tuning.job.failed"
    JOB_CANCELLED = "fine_tuning.job.cancelled"
    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    BATCH_EXPIRED = "batch.expired"
    BATCH_CANCELLED = "batch.cancelled"


class DeliveryStatus(StrEnum):
    """Of one event to one webhook endpoint; ours."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # given up


class TryOutcome(StrEnum):
    """What came of one try to deliver; ours."""

    ANSWERED = "answered"  # with a status, which decides
    BROKEN_ANSWER = "broken_answer"  # what came is not HTTP, or too much of it
    CLOSED = "closed"  # before a whole answer had come
    NOT_ALLOWED = "not_allowed"  # the URL, or an address of its host, is one nothing is sent to
    NOT_REACHED = "not_reached"  # no connection came about
    NOT_RESOLVED = "not_resolved"  # the host has no address
    NOT_TRUSTED = "not_trusted"  # TLS did not come about, or with no certificate that stands for the host
    TIMED_OUT = "timed_out"


class ErrorType(StrEnum):
    """OpenAI: Error.type."""

    INVALID_REQUEST = "invalid_request_error"
    REQUESTS = "requests"  # of a rate limit
    SERVER = "server_error"
    TOKENS = "tokens"  # likewise


class ResponseStatus(StrEnum):
    """OpenAI: Response.status."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"

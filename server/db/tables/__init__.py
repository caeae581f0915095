"""Every table, by what it is of."""

from server.db.tables.access import AccessVersionRow, ApiKeyRow, ProjectRow
from server.db.tables.batches import BatchRow
from server.db.tables.columns import ProjectOwned
from server.db.tables.completions import (
    CompletionExportRow,
    StoredCompletionGoneRow,
    StoredCompletionLabelRow,
    StoredCompletionRow,
    StoredCompletionTotalRow,
)
from server.db.tables.engines import DeviceTurnRow, EngineDemandRow, EngineRow
from server.db.tables.files import FileRow, UploadPartRow, UploadRow
from server.db.tables.jobs import CheckpointRow, IntegrationRow, JobCourseRow, JobEventRow, JobReportRow, JobRow
from server.db.tables.models import CheckpointPermissionRow, FineTunedModelRow, ModelAliasRow, ModelImportRow
from server.db.tables.requests import RememberedRequestRow
from server.db.tables.responses import ResponseItemRow, ResponseRow
from server.db.tables.usage import UsageJournalRow, UsageRow
from server.db.tables.webhooks import WebhookDeliveryRow, WebhookEndpointRow

__all__ = [
    "AccessVersionRow",
    "ApiKeyRow",
    "BatchRow",
    "CheckpointPermissionRow",
    "CheckpointRow",
    "CompletionExportRow",
    "DeviceTurnRow",
    "EngineDemandRow",
    "EngineRow",
    "FileRow",
    "FineTunedModelRow",
    "IntegrationRow",
    "JobCourseRow",
    "JobEventRow",
    "JobReportRow",
    "JobRow",
    "ModelAliasRow",
    "ModelImportRow",
    "ProjectOwned",
    "ProjectRow",
    "RememberedRequestRow",
    "ResponseItemRow",
    "ResponseRow",
    "StoredCompletionGoneRow",
    "StoredCompletionLabelRow",
    "StoredCompletionRow",
    "StoredCompletionTotalRow",
    "UploadPartRow",
    "UploadRow",
    "UsageJournalRow",
    "UsageRow",
    "WebhookDeliveryRow",
    "WebhookEndpointRow",
]

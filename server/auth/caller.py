"""Who is asking: an authenticated API key and its project."""

from dataclasses import dataclass

from server.ids import ProjectId


@dataclass(frozen=True)
class ProjectLimits:
    """A project's own limits. None: that of the settings; 0: none."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent_answers: int | None = None


@dataclass(frozen=True)
class Caller:
    project_id: ProjectId
    organization_id: str  # OpenAI's `organization_id` of a job
    slug: str  # the third segment of `ft:` names
    is_admin: bool
    key_id: str  # of the API key; one of the settings has a name in its place
    limits: ProjectLimits = ProjectLimits()

"""Whose deliveries are tried next, when there are more than are sent at once (pure)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

AT_ONCE_TO_ONE = 2


@dataclass(frozen=True)
class Waiting:
    """An endpoint that has deliveries which are due."""

    endpoint_id: str
    project_id: str
    due_at: float  # the earliest of them


def choose(waiting: Sequence[Waiting], under_way: Iterable[Waiting], *, places: int) -> list[Waiting]:
    """One delivery of each of these is next, an endpoint as often as it is named.

    A place is a try under way, which a receiver that hangs holds for its whole time: of n busy projects each may have
    1/(n+1) of them, so that one share is free for whoever comes next.
    """
    endpoints, projects = Counter[str](), Counter[str]()
    for one in under_way:
        endpoints[one.endpoint_id] += 1
        projects[one.project_id] += 1
    left = places - projects.total()
    share = max(1, places // (len(projects.keys() | {one.project_id for one in waiting}) + 1))
    chosen: list[Waiting] = []
    while len(chosen) < left:
        able = [
            one for one in waiting if endpoints[one.endpoint_id] < AT_ONCE_TO_ONE and projects[one.project_id] < share
        ]
        if not able:
            break
        following = min(able, key=lambda one: (projects[one.project_id], endpoints[one.endpoint_id], one.due_at))
        endpoints[following.endpoint_id] += 1
        projects[following.project_id] += 1
        chosen.append(following)
    return chosen

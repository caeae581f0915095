"""What of a process's environment its trainers get."""

from collections.abc import Mapping

_SECRETS = ("TUNESMITH_API_KEY", "TUNESMITH_ADMIN_KEY")


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """All but the service's keys: a trainer has no use for them."""
    return {name: value for name, value in environment.items() if name not in _SECRETS}

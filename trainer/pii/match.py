"""What a pattern has found, and where."""

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """In the order in which the longer of two overlapping matches of one length is preferred; the value is shown."""

    PRIVATE_KEY = "private key"
    JWT = "JSON web token"
    API_KEY = "API key"
    IBAN = "IBAN"
    CREDIT_CARD = "credit card number"
    NATIONAL_ID = "national id"
    EMAIL = "e-mail address"
    PHONE = "phone number"
    IP_ADDRESS = "IP address"

    @property
    def marker(self) -> str:
        """What stands in the place of a match that is redacted."""
        return f"[{self.name}]"


SECRETS = frozenset({Kind.PRIVATE_KEY, Kind.JWT, Kind.API_KEY})


class Match(NamedTuple):
    kind: Kind
    start: int  # characters
    end: int

"""Keys and tokens that open something: detect-secrets' patterns of well-known services, and newer forms beside them."""

import re
from collections.abc import Iterator

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector

from trainer.pii.match import Kind, Match

_PLUGINS = (
    AWSKeyDetector,
    GitHubTokenDetector,
    GitLabTokenDetector,
    OpenAIDetector,
    PypiTokenDetector,
    SendGridDetector,
    SlackDetector,
    StripeDetector,
    TelegramBotTokenDetector,
)
_NEWER = (
    r"sk-(?:proj|ant|svcacct|admin)-[A-Za-z0-9_-]{20,}",
    r"github_pat_[A-Za-z0-9_]{40,}",
    r"AIza[A-Za-z0-9_-]{35}",  # Google
    r"hf_[A-Za-z0-9]{34}",  # Hugging Face
)
_API_KEYS = (
    *(pattern for plugin in _PLUGINS for pattern in plugin.denylist),
    *(re.compile(rf"(?<![A-Za-z0-9]){pattern}") for pattern in _NEWER),
)
# One of these is in every match of _API_KEYS, so that most texts are not looked through thirty times.
_SIGNS = (
    *("A3T", "ABIA", "ACCA", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "gldt-"),
    *("glft-", "glsoat-", "glrt-", "glcbt-", "glimt-", "glptt-", "glagent-", "gloas-", "GR1348941", "sk-", "pypi-"),
    *("SG.", "k_live_", "AIza", "hf_"),
)
_SIGNS_OF_ANY_CASE = ("aws", "xox", "hooks.slack")
_TELEGRAM_SIGN = re.compile(r":[0-9A-Za-z_-]{35}")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<what>[A-Z0-9 ]{0,30})PRIVATE KEY(?P<block> BLOCK)?-----"
    r"(?:.{0,20000}?-----END (?P=what)PRIVATE KEY(?P=block)?-----|[A-Za-z0-9+/=\s\\]*)",
    re.DOTALL,
)
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*")


def find_secrets(text: str) -> Iterator[Match]:
    """Yield the secrets in a text; matches may overlap."""
    if "PRIVATE KEY" in text:
        yield from (Match(Kind.PRIVATE_KEY, *found.span()) for found in _PRIVATE_KEY.finditer(text))
    if "eyJ" in text:
        for found in _JWT.finditer(text):
            if JwtTokenDetector.is_formally_valid(found[0]):
                yield Match(Kind.JWT, *found.span())
    if _may_hold_api_keys(text):
        for pattern in _API_KEYS:
            yield from (Match(Kind.API_KEY, *found.span()) for found in pattern.finditer(text))


def _may_hold_api_keys(text: str) -> bool:
    if any(sign in text for sign in _SIGNS) or _TELEGRAM_SIGN.search(text):
        return True
    lower = text.lower()
    return any(sign in lower for sign in _SIGNS_OF_ANY_CASE)

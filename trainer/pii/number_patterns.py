"""Numbers that name a person or an account: found by their form, kept if the check digits are right."""

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn
from stdnum.br import cpf
from stdnum.ch import ssn as swiss_ssn
from stdnum.cn import ric
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.mx import curp
from stdnum.se import personnummer
from stdnum.us import ssn

from trainer.pii.match import Kind, Match

_ALONE = r"(?<![\w.-]){}(?![\w-])"  # not part of a longer word or number


def _alone(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(_ALONE.format(f"(?:{pattern})"), flags)


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and len(set(digits)) > 1 and luhn.is_valid(digits)


_IBAN = _alone(r"[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?")
_CARD = _alone(r"\d{4}(?:[ -]?\d{4}){2}[ -]?\d{1,7}|\d{4}[ -]?\d{6}[ -]?\d{4,5}")
# A form that a plain number does not have, or one with two check digits: others would find every tenth order number.
_NATIONAL_IDS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (_alone(r"\d{3}-\d{2}-\d{4}"), ssn.is_valid),
    (_alone(r"\d{3}\.\d{3}\.\d{3}-\d{2}"), cpf.is_valid),
    (_alone(r"756\.\d{4}\.\d{4}\.\d{2}"), swiss_ssn.is_valid),
    (_alone(r"[12] ?\d{2} ?\d{2} ?\d[0-9AB] ?\d{3} ?\d{3} ?\d{2}"), nir.is_valid),
    (_alone(r"\d{8}-?[A-Z]"), dni.is_valid),
    (_alone(r"[XYZ]-?\d{7}-?[A-Z]"), nie.is_valid),
    (_alone(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]"), codicefiscale.is_valid),
    (_alone(r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d"), curp.is_valid),
    (_alone(r"[2-9]\d{3} \d{4} \d{4}"), aadhaar.is_valid),
    (_alone(r"\d{17}[\dX]"), ric.is_valid),
    (_alone(r"\d{6}[-+]\d{4}"), personnummer.is_valid),
)
_PHONE = re.compile(r"\+\d[\d ()./-]{6,}\d|(?<![\w.-])\(?[2-9]\d{2}\)?[ .-]\d{3}[.-]\d{4}(?![\w-])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{1,4}:){2,7}(?::?[0-9a-fA-F]{1,4}){0,6}(?![\w:])")
_IPV6_SIGN = re.compile(r":[0-9a-fA-F]{0,4}:")
_VERSION = re.compile(r"(?i:version|release|ver|firmware)[.:]? *$")
# Every number looked for has four digits that stand close together: the patterns look only around such places.
_MANY_DIGITS = re.compile(r"\d(?:\D{0,2}\d){3,}")
_AROUND = 48  # characters


def find_numbers(text: str) -> Iterator[Match]:
    """Yield the numbers in a text that identify somebody or something; matches may overlap."""
    for start, end in _windows(text):
        window = text[start:end]
        for kind, first, last in _find_in(window):
            yield Match(kind, start + first, start + last)
    if ":" in text and _IPV6_SIGN.search(text):
        yield from _find_addresses(text, _IPV6)


def _windows(text: str) -> Iterator[tuple[int, int]]:
    start, end = 0, -1
    for digits in _MANY_DIGITS.finditer(text):
        if end >= 0 and digits.start() - _AROUND > end:
            yield start, end
            end = -1
        start = max(digits.start() - _AROUND, 0) if end < 0 else start
        end = digits.end() + _AROUND
    if end >= 0:
        yield start, end


def _find_in(text: str) -> Iterator[Match]:
    for found in _IBAN.finditer(text):
        if iban.is_valid(found[0], check_country=False):
            yield Match(Kind.IBAN, *found.span())
    yield from (Match(Kind.CREDIT_CARD, *found.span()) for found in _CARD.finditer(text) if _is_card(found[0]))
    for pattern, is_valid in _NATIONAL_IDS:
        yield from (Match(Kind.NATIONAL_ID, *found.span()) for found in pattern.finditer(text) if is_valid(found[0]))
    yield from _find_phones(text)
    yield from _find_addresses(text, _IPV4)


def _find_phones(text: str) -> Iterator[Match]:
    for candidate in _PHONE.finditer(text):
        region = None if candidate[0].startswith("+") else "US"
        matcher: Any = PhoneNumberMatcher(candidate[0], region, leniency=Leniency.VALID, max_tries=1)
        for phone in matcher:
            yield Match(Kind.PHONE, candidate.start() + phone.start, candidate.start() + phone.end)


def _find_addresses(text: str, pattern: re.Pattern[str]) -> Iterator[Match]:
    for found in pattern.finditer(text):
        try:
            is_public = ip_address(found[0]).is_global  # others name no machine that an outsider could reach
        except ValueError:
            continue
        if is_public and not _VERSION.search(text, max(found.start() - 12, 0), found.start()):
            yield Match(Kind.IP_ADDRESS, *found.span())

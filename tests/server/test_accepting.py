"""Which form of an answer a header asks for."""

import pytest

from server.accepting import prefers_html

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("text/html", True),
        ("TEXT/HTML", True),
        ("text/*", True),
        ("text/html;q=0.5, application/json;q=0.4", True),
        ("text/html;q=0.5, */*", False),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        (",;,;q=", False),
        (BROWSER, True),
    ],
)
def test_html_is_given_where_it_is_preferred(accept: str | None, is_html: bool) -> None:
    assert prefers_html(accept) is is_html

"""One line of what a stranger's server says, safe to print."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.http import quote_line
from tests.examples import at_most

WIKIMEDIA = (
    "Please set a user-agent and respect our robot policy https://w.wiki/4wJS. "
    "See also https://phabricator.wikimedia.org/T400119"
)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        pytest.param(WIKIMEDIA.encode(), WIKIMEDIA, id="plain-text"),
        pytest.param(b"", "", id="nothing"),
        pytest.param(b"  slow\r\n\tdown  \n", "slow down", id="several-lines"),
        pytest.param(b'{"detail":"No credentials."}', "No credentials.", id="json"),
        pytest.param(
            b'{"error":{"code":403,"message":"Not shared"}}', "Not shared", id="nested"
        ),
        pytest.param(b'[{"message": "Gone"}]', "Gone", id="list"),
        pytest.param(b'{"code": 403}', "", id="json-without-words"),
        pytest.param(b'{"detail": "cut', "", id="half-of-json"),
        pytest.param(b"[" * 100_000, "", id="deep-json"),
        pytest.param(
            b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has'
            b" expired</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>",
            "Request has expired",
            id="s3",
        ),
        pytest.param(
            b'<?xml version="1.0"?><Error><StringToSign>GET k</StringToSign></Error>',
            "",
            id="xml-without-message",
        ),
        pytest.param(
            b"<!DOCTYPE html><html><head><title>403</title><style>b{c:d}</style></head>"
            b"<body><h1>No&nbsp;hot&#108;inking</h1><script>x()</script><p>Ask us",
            "No hotlinking Ask us",
            id="page",
        ),
        pytest.param(
            b"<html><head><title>Blocked</title></head><body></body>",
            "Blocked",
            id="page-with-a-title-only",
        ),
        pytest.param(b"a<script>alert(1)", "a", id="open-script"),
        pytest.param(b"&lt;img src=x&gt; no", "'img src=x' no", id="escaped-markup"),
        pytest.param(
            "caf\u00e9 \u202eevil\x1b[31m\u2028\u0000".encode(),
            "caf\u00e9 evil [31m",
            id="control-characters",
        ),
        pytest.param(b"\x89PNG\x90\x91\x92\x93\x94", "", id="binary"),
        pytest.param(
            b"no /a.png?X-Amz-Signature=abc&e=1 for you",
            "no /a.png?\u2026 for you",
            id="query",
        ),
        pytest.param(
            b"http://me:secret@host/a", "http://host/a", id="user-and-password"
        ),
        pytest.param(
            b"bad Authorization: Basic bWU6c2VjcmV0",
            "bad Authorization: Basic \u2026",
            id="authorization",
        ),
        pytest.param(b"key " + b"a1B2" * 12 + b" bad", "key \u2026 bad", id="a-key"),
    ],
)
def test_quote_line_takes_the_sentence_for_people(body: bytes, line: str) -> None:
    assert quote_line(body) == line


def test_quote_line_is_short() -> None:
    line = quote_line(b"very long " * 100)

    assert len(line) == 160
    assert line.endswith("\N{HORIZONTAL ELLIPSIS}")


@settings(max_examples=at_most(200), deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(alphabet="<>!-/abs?@:=\"'&;{}[] \n", max_size=200).map(str.encode),
    )
)
def test_quote_line_is_one_printable_line_without_markup(body: bytes) -> None:
    line = quote_line(body)

    assert line.isprintable()
    assert len(line) <= 160
    assert not set(line) & {"<", ">"}

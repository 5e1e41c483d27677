import base64
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.addresses import (
    HostRule,
    Reach,
    locate,
    reach_of,
    shorten,
    takes_token,
)
from backend.errors import ImageError, ImageNotFound, ImageRefused
from backend.values import LabelStudioAccess

OWN = LabelStudioAccess(url="http://ls:8080", token="t", from_environment=True)
BELOW = LabelStudioAccess(url="https://my.org/label-studio", token="t")
UNKNOWN = LabelStudioAccess(url=None)


def rules(*texts: str) -> tuple[HostRule, ...]:
    return tuple(HostRule.parse(text) for text in texts)


@pytest.mark.parametrize(
    ("address", "access", "url"),
    [
        pytest.param(
            "/data/upload/1/a%20b.png",
            OWN,
            "http://ls:8080/data/upload/1/a%20b.png",
            id="upload",
        ),
        pytest.param(
            "/data/local-files/?d=d/x%201.png",
            OWN,
            "http://ls:8080/data/local-files/?d=d/x%201.png",
            id="local-file",
        ),
        pytest.param(
            "/data/upload/1/a.png",
            BELOW,
            "https://my.org/label-studio/data/upload/1/a.png",
            id="sub-path-added",
        ),
        pytest.param(
            "/label-studio/data/upload/1/a.png",
            BELOW,
            "https://my.org/label-studio/data/upload/1/a.png",
            id="sub-path-not-doubled",
        ),
        pytest.param(
            "/label-studio-2/a.png",
            BELOW,
            "https://my.org/label-studio/label-studio-2/a.png",
            id="sub-path-is-whole-names",
        ),
        pytest.param(
            "http://localhost:8000/data/local-files/?d=x.png",
            OWN,
            "http://ls:8080/data/local-files/?d=x.png",
            id="localhost-of-another-container",
        ),
        pytest.param(
            "http://localhost:8000/cat.png",
            OWN,
            "http://localhost:8000/cat.png",
            id="localhost-of-another-program",
        ),
        pytest.param(
            "HTTPS://Example.org/a.png", OWN, "https://example.org/a.png", id="http"
        ),
        pytest.param(
            "/data/a.png",
            LabelStudioAccess(url="http://me:word@ls"),
            "http://ls/data/a.png",
            id="password-in-learned-address-dropped",
        ),
    ],
)
def test_locate_finds_the_url_of(
    address: str, access: LabelStudioAccess, url: str
) -> None:
    assert str(locate(address, access)) == url


@pytest.mark.parametrize("scheme", ["s3", "gs", "azure-blob"])
def test_locate_asks_label_studio_for_cloud_storage(scheme: str) -> None:
    uri = f"{scheme}://bucket/ä b.png"

    url = locate(uri, BELOW, task_id=7)

    assert url.path == "/label-studio/tasks/7/presign/"
    fileuri = unquote(url.params["fileuri"])
    assert base64.urlsafe_b64decode(fileuri).decode() == uri


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://host/a.png",
        "s3://bucket/a.png",
        "C:\\a.png",
        "a.png",
        "//host/a.png",
        "javascript:alert(1)",
        "http:///a.png",
        "http://xn--/a.png",
        "http://[::1/a.png",
        "http://host:bad/a.png",
    ],
)
def test_locate_refuses_other_addresses_and_says_what_is_supported(
    address: str,
) -> None:
    with pytest.raises(ImageRefused, match=r"Supported are uploads .* http and https"):
        locate(address, OWN)


@pytest.mark.parametrize("port", [0, 65536, 10**30])
def test_locate_refuses_impossible_ports(port: int) -> None:
    with pytest.raises(ImageRefused, match="ports go from 1 to 65535"):
        locate(f"http://host:{port}/a.png", OWN)


def test_locate_names_the_remedy_when_label_studio_is_unknown() -> None:
    with pytest.raises(ImageRefused, match="Set LABEL_STUDIO_URL"):
        locate("/data/upload/1/a.png", UNKNOWN)


def test_locate_takes_an_empty_address_for_no_image() -> None:
    with pytest.raises(ImageNotFound, match="names no image"):
        locate("", OWN)


@given(st.text(), st.sampled_from(["", "http://", "https://a", "/", "s3://"]))
def test_locate_answers_any_text_with_a_web_url_or_an_image_error(
    text: str, start: str
) -> None:
    try:
        url = locate(start + text, OWN, task_id=1)
    except ImageError:
        return
    assert url.scheme in {"http", "https"}
    assert url.host


@pytest.mark.parametrize(
    "path", ["/a", "//evil.org/a", "/\\evil.org", "/@evil.org", "/../a", "/?@evil.org"]
)
def test_locate_never_leaves_label_studio_by_a_path(path: str) -> None:
    try:
        url = locate(path, OWN)
    except ImageRefused:
        return
    assert (url.scheme, url.host, url.port) == ("http", "ls", 8080)


@pytest.mark.parametrize(
    ("url", "access", "expected"),
    [
        pytest.param("http://ls:8080/data/a.png", OWN, True, id="same-origin"),
        pytest.param("http://LS.:8080/data/a.png", OWN, True, id="same-name"),
        pytest.param("http://ls:8081/data/a.png", OWN, False, id="other-port"),
        pytest.param("https://ls:8080/data/a.png", OWN, False, id="other-scheme"),
        pytest.param("http://ls.evil.org:8080/a", OWN, False, id="longer-name"),
        pytest.param("https://my.org:443/label-studio/a", BELOW, True, id="port-443"),
        pytest.param("https://my.org/label-studio", BELOW, True, id="sub-path"),
        pytest.param("https://my.org/wiki/a.png", BELOW, False, id="other-program"),
        pytest.param(
            "https://my.org/label-studio-2/a", BELOW, False, id="longer-sub-path"
        ),
        pytest.param(
            "https://my.org/label-studio/../wiki", BELOW, False, id="dot-segments"
        ),
        pytest.param("http://ls:8080/", UNKNOWN, False, id="unknown"),
    ],
)
def test_takes_token_is_true_only_on_label_studio(
    url: str, access: LabelStudioAccess, expected: bool
) -> None:
    assert takes_token(httpx.URL(url), access) is expected


LEARNED = LabelStudioAccess(url="http://ls:8080", token="t")
LEARNED_BARE = LabelStudioAccess(url="http://ls:8080")


@pytest.mark.parametrize(
    ("url", "access", "hosts", "reach"),
    [
        pytest.param("http://ls:8080/a", OWN, (), Reach.ANYWHERE, id="environment"),
        pytest.param("http://ls:8080/a", OWN, ("x",), Reach.ANYWHERE, id="with-rules"),
        pytest.param("http://ls:6379/a", OWN, (), Reach.PUBLIC, id="other-port"),
        pytest.param("http://ls:8080/a", LEARNED, (), Reach.PRIVATE, id="learned"),
        pytest.param(
            "http://ls:8080/a", LEARNED_BARE, (), Reach.PUBLIC, id="learned-no-token"
        ),
        pytest.param("http://else/a", LEARNED, (), Reach.PUBLIC, id="elsewhere"),
        pytest.param("http://else/a", OWN, ("else",), Reach.ANYWHERE, id="named"),
    ],
)
def test_reach_of_depends_on_who_named_the_host(
    url: str, access: LabelStudioAccess, hosts: tuple[str, ...], reach: Reach
) -> None:
    assert reach_of(httpx.URL(url), access, rules(*hosts)) is reach


def test_reach_of_refuses_hosts_that_no_rule_names() -> None:
    with pytest.raises(ImageRefused, match=r"'else' .* not among IMAGE_HOSTS"):
        reach_of(httpx.URL("http://else/a?sig=1"), OWN, rules("x", "*.y.org"))


@pytest.mark.parametrize(
    ("rule", "url", "expected"),
    [
        ("a.org", "http://a.org/x", True),
        ("A.org", "https://a.ORG:8443/x", True),
        ("a.org", "http://b.a.org/x", False),
        ("a.org:9000", "http://a.org:9000/x", True),
        ("a.org:9000", "http://a.org/x", False),
        ("a.org:443", "https://a.org/x", True),
        ("*.a.org", "http://c.b.a.org/x", True),
        ("*.a.org", "http://a.org/x", False),
        ("*.a.org", "http://evila.org/x", False),
        ("my_minio:9000", "http://my_minio:9000/x", True),
        ("[::1]:80", "http://[::1]/x", True),
        ("bücher.de", "http://xn--bcher-kva.de/x", True),
    ],
)
def test_host_rule_names(rule: str, url: str, expected: bool) -> None:
    assert HostRule.parse(rule).names(httpx.URL(url)) is expected


@pytest.mark.parametrize(
    "text", ["", "*", "*.", "*.*.org", "http://a", "a/b", "me@a", "a b", "::1", "xn--"]
)
def test_host_rule_refuses_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        HostRule.parse(text)


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1::1", True, True),
        ("127.0.0.1", False, True),
        ("10.1.2.3", False, True),
        ("172.16.0.1", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, True),
        ("::1", False, True),
        ("fd12::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("2002:7f00:1::", False, True),
        ("64:ff9b::10.0.0.1", False, True),
        ("64:ff9b::93.184.216.34", True, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("100.100.100.200", False, False),
        ("fd00:ec2::254", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("240.0.0.1", False, False),
        ("fec0::1", False, False),
        ("ff02::1", False, False),
    ],
)
def test_reach_allows(address: str, public: bool, private: bool) -> None:
    assert Reach.PUBLIC.allows(address) is public
    assert Reach.PRIVATE.allows(address) is private
    assert Reach.ANYWHERE.allows(address)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://a.org:80/x.png?sig=secret#secret", "http://a.org:80/x.png"),
        ("http://me:secret@a.org/x@2x.png", "http://a.org/x@2x.png"),
        ("http://a.org/x@2x.png", "http://a.org/x@2x.png"),
        ("http://me:sec/ret@a.org/x.png", "http://a.org/x.png"),
        ("http://me:sec?secret@a.org/x.png", "http://a.org/x.png"),
        ("s3://secret@bucket/x.png", "s3://bucket/x.png"),
        ("/data/x.png?token=secret", "/data/x.png"),
        ("http://[::1]:80/x@2x.png", "http://[::1]:80/x@2x.png"),
    ],
)
def test_shorten_leaves_out_passwords_and_queries(address: str, shown: str) -> None:
    assert shorten(address) == shown


def test_shorten_tells_the_length_of_a_data_uri_in_place_of_the_data() -> None:
    assert shorten("data:image/png;base64," + "A" * 5000) == (
        "data:image/png;base64,... (5022 characters)"
    )


def test_shorten_cuts_long_addresses() -> None:
    assert len(shorten("http://a.org/" + "x" * 5000)) == 120

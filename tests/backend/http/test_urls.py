import httpx
import pytest

from backend.errors import ImageRefused, InvalidUrl
from backend.http.urls import (
    HostRule,
    NetworkScope,
    is_reserved,
    parse_url,
    shorten,
)
from backend.label_studio import is_label_studio, network_scope, takes_token
from backend.types import LabelStudioAccess

OWN = LabelStudioAccess(url="http://ls:8080", token="t", from_environment=True)
BELOW = LabelStudioAccess(url="https://my.org/label-studio", token="t")
UNKNOWN = LabelStudioAccess(url=None)


def rules(*texts: str) -> tuple[HostRule, ...]:
    return tuple(HostRule.parse(text) for text in texts)


@pytest.mark.parametrize("port", [0, 65536, 10**30])
def test_parse_url_refuses_impossible_ports(port: int) -> None:
    with pytest.raises(InvalidUrl, match="ports go from 1 to 65535"):
        parse_url(f"http://host:{port}/a.png")


@pytest.mark.parametrize(
    ("url", "access", "expected"),
    [
        pytest.param("http://ls:8080/a.png", OWN, True, id="same-origin"),
        pytest.param("http://LS.:8080/a.png", OWN, True, id="same-name"),
        pytest.param("http://ls:8081/a.png", OWN, False, id="other-port"),
        pytest.param("https://ls:8080/a.png", OWN, False, id="other-scheme"),
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
        pytest.param(
            "https://my.org/label-studio/%2e%2e/wiki", BELOW, False, id="hidden-dots"
        ),
        pytest.param(
            "https://my.org/label-studio/x%2f..%2f..%2fwiki",
            BELOW,
            False,
            id="hidden-slashes",
        ),
        pytest.param(
            "https://my.org/label-studio/..%5cwiki", BELOW, False, id="backslash"
        ),
        pytest.param("http://ls:8080/", UNKNOWN, False, id="unknown"),
    ],
)
def test_is_label_studio_tells_its_pages_from_those_of_others(
    url: str, access: LabelStudioAccess, expected: bool
) -> None:
    assert is_label_studio(httpx.URL(url), access) is expected


API_HOME = LabelStudioAccess(url="https://my.org/api/ls", token="t")


@pytest.mark.parametrize(
    ("url", "access", "expected"),
    [
        pytest.param("http://ls:8080/data/upload/1/a.png", OWN, True, id="upload"),
        pytest.param("http://ls:8080/data/local-files/?d=a", OWN, True, id="local"),
        pytest.param("http://ls:8080/data/local-files?d=a", OWN, True, id="no-slash"),
        pytest.param(
            "http://ls:8080/storage-data/uploaded/?filepath=upload/1/a",
            OWN,
            True,
            id="stored-upload",
        ),
        pytest.param("http://ls:8080/tasks/7/presign/?fileuri=", OWN, True, id="task"),
        pytest.param("http://ls:8080/projects/7/resolve/", OWN, True, id="project"),
        pytest.param(
            "https://my.org/label-studio/data/upload/1/a", BELOW, True, id="sub-path"
        ),
        pytest.param(
            "https://my.org/label-studio/ls/data/upload/1/a",
            BELOW,
            True,
            id="two-sub-paths",
        ),
        pytest.param(
            "http://ls:8080/label-studio/data/upload/1/a", OWN, True, id="other-prefix"
        ),
        pytest.param(
            "https://my.org/api/ls/data/upload/1/a", API_HOME, True, id="home-in-api"
        ),
        pytest.param(
            "http://ls:8080/data/upload/1/api/a", OWN, True, id="upload-called-api"
        ),
        pytest.param("http://ls:8081/data/upload/1/a", OWN, False, id="other-port"),
        pytest.param(
            "https://my.org/data/upload/1/a", BELOW, False, id="above-the-sub-path"
        ),
        pytest.param("http://ls:8080/api/tasks/1/", OWN, False, id="api"),
        pytest.param(
            "http://ls:8080/api/tasks/1/data/upload/x", OWN, False, id="api-upload"
        ),
        pytest.param(
            "http://ls:8080/%61PI/tasks/1/data/upload/x", OWN, False, id="api-hidden"
        ),
        pytest.param(
            "http://ls:8080/x/api%2Ftasks%2F1/data/upload/x",
            OWN,
            False,
            id="api-behind-a-prefix",
        ),
        pytest.param("http://ls:8080/api/tasks/1/presign/", OWN, False, id="api-task"),
        pytest.param(
            "https://my.org/api/ls/api/tasks/1/resolve/",
            API_HOME,
            False,
            id="api-twice",
        ),
        pytest.param(
            "http://ls:8080/data/upload/..%2f..%2fapi/tasks/1/",
            OWN,
            False,
            id="walks-up",
        ),
        pytest.param(
            "http://ls:8080/data/upload/x%3f/%2e%2e/%2e%2e/%2e%2e/api/tasks/1/",
            OWN,
            False,
            id="walks-up-behind-a-question-mark",
        ),
        pytest.param("http://ls:8080/tasks/7/", OWN, False, id="page-of-a-task"),
        pytest.param("http://ls:8080/projects/x/resolve/", OWN, False, id="no-number"),
        pytest.param("http://ls:8080/?x=/data/upload/1/a", OWN, False, id="query"),
        pytest.param("http://ls:8080/a.png", OWN, False, id="any-path"),
        pytest.param("http://ls:8080/data/upload/1/a", UNKNOWN, False, id="unknown"),
    ],
)
def test_takes_token_is_true_only_where_label_studio_serves_files(
    url: str, access: LabelStudioAccess, expected: bool
) -> None:
    assert takes_token(httpx.URL(url), access) is expected


LEARNED = LabelStudioAccess(url="http://ls:8080", token="t")
BELIEVED = LabelStudioAccess(url="http://ls:8080", may_be_private=True)


@pytest.mark.parametrize(
    ("url", "access", "hosts", "scope"),
    [
        pytest.param(
            "http://ls:8080/a", OWN, (), NetworkScope.ANYWHERE, id="environment"
        ),
        pytest.param(
            "http://ls:8080/a", OWN, ("x",), NetworkScope.ANYWHERE, id="with-rules"
        ),
        pytest.param("http://ls:6379/a", OWN, (), NetworkScope.PUBLIC, id="other-port"),
        pytest.param(
            "http://ls:8080/a", LEARNED, (), NetworkScope.PUBLIC, id="learned"
        ),
        pytest.param(
            "http://ls:8080/a",
            LEARNED,
            ("ls",),
            NetworkScope.NAMED,
            id="learned-named",
        ),
        pytest.param(
            "http://ls:8080/a", BELIEVED, (), NetworkScope.PRIVATE, id="believed"
        ),
        pytest.param(
            "http://ls:8080/a",
            BELIEVED,
            ("x",),
            NetworkScope.PRIVATE,
            id="believed-rules",
        ),
        pytest.param(
            "http://else/a", BELIEVED, (), NetworkScope.PUBLIC, id="elsewhere"
        ),
        pytest.param("http://else/a", OWN, ("else",), NetworkScope.NAMED, id="named"),
        pytest.param(
            "http://x.else/a", OWN, ("*.else",), NetworkScope.NAMED, id="pattern"
        ),
        pytest.param(
            "http://169.254.1.2:8/a",
            OWN,
            ("*.else", "169.254.1.2"),
            NetworkScope.ANYWHERE,
            id="number",
        ),
        pytest.param(
            "http://[fe80::1]/a", OWN, ("[fe80::1]",), NetworkScope.ANYWHERE, id="ipv6"
        ),
        pytest.param(
            "http://169.254.1.2/a",
            OWN,
            ("*.254.1.2",),
            NetworkScope.NAMED,
            id="pattern-of-numbers",
        ),
    ],
)
def test_reach_of_depends_on_who_named_the_host(
    url: str, access: LabelStudioAccess, hosts: tuple[str, ...], scope: NetworkScope
) -> None:
    assert network_scope(httpx.URL(url), access, rules(*hosts)) is scope


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("http://else/a?sig=1", "else"),
        ("http://me:word@else:9000/a", "else:9000"),
        ("http://[::2]:9000/a", "[::2]:9000"),
    ],
)
def test_reach_of_refuses_hosts_that_no_rule_names_and_says_what_to_add(
    url: str, entry: str
) -> None:
    with pytest.raises(ImageRefused, match="not among IMAGE_HOSTS") as caught:
        network_scope(httpx.URL(url), OWN, rules("x", "*.y.org"))

    assert f"Add {entry} there" in str(caught.value)
    assert "sig" not in str(caught.value)
    assert HostRule.parse(entry).names(httpx.URL(url))


def test_reach_of_keeps_to_image_hosts_whatever_setup_says() -> None:
    with pytest.raises(
        ImageRefused,
        match=r"Add ls:8080 there, or.*LABEL_STUDIO_URL.*BASIC_AUTH_USER and BASIC_AUT",
    ):
        network_scope(httpx.URL("http://ls:8080/a"), LEARNED, rules("x"))


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
        ("168.63.129.16", False, False),
        ("192.0.0.192", False, False),
        ("::ffff:168.63.129.16", False, False),
        ("64:ff9b::168.63.129.16", False, False),
        ("2002:a83f:8110::", False, False),
        ("::ffff:192.0.0.192", False, False),
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
    assert NetworkScope.PUBLIC.allows(address) is public
    assert NetworkScope.PRIVATE.allows(address) is private
    assert NetworkScope.ANYWHERE.allows(address)
    assert NetworkScope.NAMED.allows(address) is not is_reserved(address)


@pytest.mark.parametrize(
    ("address", "reserved"),
    [
        ("169.254.169.254", True),
        ("::ffff:169.254.1.1", True),
        ("64:ff9b::169.254.169.254", True),
        ("2002:a9fe:a9fe::", True),
        ("fe80::1", True),
        ("100.100.100.200", True),
        ("fd00:ec2::254", True),
        ("100.64.0.1", False),
        ("198.18.0.1", False),
        ("10.0.0.1", False),
        ("::1", False),
        ("93.184.216.34", False),
    ],
)
def test_is_reserved_is_true_of_where_machines_get_credentials(
    address: str, reserved: bool
) -> None:
    assert is_reserved(address) is reserved


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]"])
def test_network_scope_never_advises_to_open_a_reserved_address(host: str) -> None:
    with pytest.raises(ImageRefused, match="link-local, or of a cloud") as caught:
        network_scope(httpx.URL(f"http://{host}/a"), OWN, rules("*.my.org"))

    assert "IMAGE_HOSTS" not in str(caught.value)


@pytest.mark.parametrize(
    "entry", ["http://me:s3cret@host", "me:s3cret@host:9000", "me:s3@cret@host\n"]
)
def test_host_rule_hides_a_password_in_what_it_refuses(entry: str) -> None:
    with pytest.raises(ValueError, match=r"'\*\*\*@host") as caught:
        HostRule.parse(entry)

    assert "s3" not in str(caught.value)


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

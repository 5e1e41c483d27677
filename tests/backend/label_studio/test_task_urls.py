import base64
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import ImageError, ImageNotFound, ImageRefused
from backend.label_studio.task_urls import cloud_bucket, local_file, locate
from backend.types import LabelStudioAccess

OWN = LabelStudioAccess(url="http://ls:8080", token="t", from_environment=True)
BELOW = LabelStudioAccess(url="https://my.org/label-studio", token="t")
UNKNOWN = LabelStudioAccess(url=None)
# A container beside Label Studio's, while browsers come through a proxy.
INSIDE = LabelStudioAccess(
    url="http://ls:8080",
    token="t",
    from_environment=True,
    external_url="https://my.org/label-studio",
)


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
            "https://my.org/label-studio/data/local-files/?d=a%20b.png",
            BELOW,
            "https://my.org/label-studio/data/local-files/?d=a%20b.png",
            id="absolute-below-sub-path",
        ),
        pytest.param(
            "/label-studio-2/a.png",
            BELOW,
            "https://my.org/label-studio/label-studio-2/a.png",
            id="sub-path-is-whole-names",
        ),
        pytest.param(
            "https://my.org/wiki/data/upload/1/a.png",
            BELOW,
            "https://my.org/wiki/data/upload/1/a.png",
            id="other-program-on-the-same-host",
        ),
        pytest.param(
            "http://localhost:8000/data/local-files/?d=x.png",
            OWN,
            "http://ls:8080/data/local-files/?d=x.png",
            id="localhost-of-another-container",
        ),
        pytest.param(
            "http://127.0.0.1:8000/label-studio/tasks/7/resolve/?fileuri=czM=",
            BELOW,
            "https://my.org/label-studio/tasks/7/resolve/?fileuri=czM=",
            id="resolved-cloud-uri",
        ),
        pytest.param(
            "http://localhost:8000/cat.png",
            OWN,
            "http://localhost:8000/cat.png",
            id="localhost-of-another-program",
        ),
        pytest.param(
            "http://localhost:8000/data/upload/1/a.png",
            UNKNOWN,
            "http://localhost:8000/data/upload/1/a.png",
            id="localhost-while-label-studio-is-unknown",
        ),
        pytest.param(
            "https://my.org/label-studio/cat.png",
            INSIDE,
            "https://my.org/label-studio/cat.png",
            id="public-name-with-no-file-of-label-studio",
        ),
        pytest.param(
            "https://my.org/data/upload/1/a.png",
            INSIDE,
            "https://my.org/data/upload/1/a.png",
            id="public-name-outside-of-its-sub-path",
        ),
        pytest.param(
            "https://my.org/data/upload/1/a.png",
            LabelStudioAccess(url="http://ls:8080", external_url="my.org"),
            "https://my.org/data/upload/1/a.png",
            id="public-name-that-is-no-address",
        ),
        pytest.param(
            "/api/tasks/1/data/upload/x",
            OWN,
            "http://ls:8080/api/tasks/1/data/upload/x",
            id="no-file-below-the-api",
        ),
        pytest.param(
            "http://localhost:8000/api/tasks/1/data/upload/x",
            OWN,
            "http://localhost:8000/api/tasks/1/data/upload/x",
            id="localhost-api-of-another-program",
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
def test_locate_finds_the_one_url_of(
    address: str, access: LabelStudioAccess, url: str
) -> None:
    assert [str(found) for found in locate(address, access)] == [url]


@pytest.mark.parametrize(
    ("address", "access", "urls"),
    [
        pytest.param(
            "/label-studio/data/upload/1/a.png",
            OWN,
            [
                "http://ls:8080/label-studio/data/upload/1/a.png",
                "http://ls:8080/data/upload/1/a.png",
            ],
            id="label-studio-reached-behind-its-proxy",
        ),
        pytest.param(
            "http://localhost/label-studio/data/local-files/?d=a%2Fb.png",
            OWN,
            [
                "http://ls:8080/label-studio/data/local-files/?d=a%2Fb.png",
                "http://ls:8080/data/local-files/?d=a%2Fb.png",
            ],
            id="absolute",
        ),
        pytest.param(
            "https://my.org/label-studio/data/local-files/?d=a.png",
            INSIDE,
            [
                "http://ls:8080/label-studio/data/local-files/?d=a.png",
                "http://ls:8080/data/local-files/?d=a.png",
            ],
            id="public-name-of-label-studio",
        ),
        pytest.param(
            "/ls/data/upload/1/a.png",
            BELOW,
            [
                "https://my.org/label-studio/ls/data/upload/1/a.png",
                "https://my.org/label-studio/data/upload/1/a.png",
            ],
            id="proxy-below-another-sub-path",
        ),
    ],
)
def test_locate_tries_a_foreign_sub_path_and_then_goes_without(
    address: str, access: LabelStudioAccess, urls: list[str]
) -> None:
    assert [str(found) for found in locate(address, access)] == urls


def test_locate_asks_for_a_bare_upload_as_label_studios_own_pages_do() -> None:
    urls = [str(url) for url in locate("upload/12/ä b.png", BELOW)]

    assert urls == [
        "https://my.org/label-studio/storage-data/uploaded/"
        "?filepath=upload/12/%C3%A4%20b.png",
        "https://my.org/label-studio/data/upload/12/%C3%A4%20b.png",
    ]


KEYS = [
    "ä b.png",
    "path with space.png",
    "a?b=1&c.png",
    "a#b.png",
    "50%20off+x.png",
    "写真/😀.png",
]


@pytest.mark.parametrize("scheme", ["s3", "gs", "azure-blob"])
@pytest.mark.parametrize("key", KEYS)
def test_locate_hands_a_cloud_uri_to_label_studio_unchanged(
    scheme: str, key: str
) -> None:
    uri = f"{scheme}://bucket/{key}"

    (url,) = locate(uri, BELOW, task_id=7)

    assert url.path == "/label-studio/tasks/7/presign/"
    fileuri = unquote(url.params["fileuri"])
    assert base64.urlsafe_b64decode(fileuri).decode() == uri


def test_locate_says_why_cloud_storage_needs_a_task_that_label_studio_knows() -> None:
    with pytest.raises(ImageRefused, match=r"s3://bucket/a\.png.* by its id"):
        locate("s3://bucket/a.png", OWN)


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("s3://bucket/a/b.png", "s3://bucket"),
        ("azure-blob://box", "azure-blob://box"),
        ("gs://key@bucket/a", "gs://bucket"),
        ("S3://Bucket?x", "S3://Bucket"),
        ("s3:bucket/a", "s3://bucket"),
        ("http://bucket/a", None),
        ("/data/upload/1/a.png", None),
        ("", None),
    ],
)
def test_cloud_bucket_names_scheme_and_bucket(address: str, bucket: str | None) -> None:
    assert cloud_bucket(address) == bucket


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://host/a.png",
        "redis://host/a.png",
        "C:\\a.png",
        "a.png",
        "upload/a.png",
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
        locate(address, OWN, task_id=7)


@pytest.mark.parametrize("address", ["/data/upload/1/a.png", "upload/1/a.png"])
def test_locate_names_the_remedy_when_label_studio_is_unknown(address: str) -> None:
    with pytest.raises(ImageRefused, match="Set LABEL_STUDIO_URL"):
        locate(address, UNKNOWN)


def test_locate_takes_an_empty_address_for_no_image() -> None:
    with pytest.raises(ImageNotFound, match="names no image"):
        locate("", OWN)


STARTS = ["", "http://", "https://a", "http://ls:8080/data/", "/", "s3://", "upload/1/"]


@given(st.text(), st.sampled_from(STARTS))
def test_locate_answers_any_text_with_web_urls_or_an_image_error(
    text: str, start: str
) -> None:
    try:
        urls = locate(start + text, OWN, task_id=1)
    except ImageError:
        return
    assert urls
    for url in urls:
        assert url.scheme in {"http", "https"}
        assert url.host


@pytest.mark.parametrize(
    "path",
    [
        "/a",
        "//evil.org/a",
        "/\\evil.org",
        "/@evil.org",
        "/../a",
        "/?@evil.org",
        "/@evil.org/data/upload/1/a.png",
        "/x?//evil.org/data/upload/1/a.png",
    ],
)
@pytest.mark.parametrize("start", ["", "http://ls:8080"])
def test_locate_never_leaves_label_studio_by_a_path(path: str, start: str) -> None:
    try:
        urls = locate(start + path, OWN)
    except ImageRefused:
        return
    for url in urls:
        assert (url.scheme, url.host, url.port) == ("http", "ls", 8080)


@pytest.mark.parametrize(
    ("address", "access", "path"),
    [
        pytest.param("/data/local-files/?d=a/b.png", OWN, "a/b.png", id="relative"),
        pytest.param("/data/local-files?d=b.png", OWN, "b.png", id="no-slash"),
        pytest.param(
            "/label-studio/data/local-files/?d=b.png", BELOW, "b.png", id="sub-path"
        ),
        pytest.param("/ls/data/local-files/?d=b.png", OWN, "b.png", id="prefix"),
        pytest.param(
            "http://ls:8080/data/local-files/?d=b.png", OWN, "b.png", id="absolute"
        ),
        pytest.param(
            "http://localhost:99/ls/data/local-files/?d=b.png",
            OWN,
            "b.png",
            id="loopback",
        ),
        pytest.param(
            "https://my.org/label-studio/data/local-files/?d=b.png",
            INSIDE,
            "b.png",
            id="public-name",
        ),
        pytest.param(
            "/data/local-files/?d=b.png", UNKNOWN, "b.png", id="unknown-label-studio"
        ),
        pytest.param(
            "/data/local-files/?d=a b+c%2Bd%23e%2525.png",
            OWN,
            "a b c+d#e%25.png",
            id="decoded-once",
        ),
        pytest.param("/data/local-files/?d=写真/ä.png", OWN, "写真/ä.png", id="plain"),
        pytest.param("/data/local-files/?d=a&x=1&d=b", OWN, "b", id="last-one-counts"),
        pytest.param("/data/local-files/?d=a%26b.png", OWN, "a&b.png", id="ampersand"),
        pytest.param("/data/local-files/?d=/etc/passwd", OWN, "/etc/passwd", id="root"),
        pytest.param("/data/local-files/?d=", OWN, None, id="empty"),
        pytest.param("/data/local-files/", OWN, None, id="no-query"),
        pytest.param("/data/local-files-2/?d=a", OWN, None, id="longer-name"),
        pytest.param("/data/upload/1/a.png?d=x", OWN, None, id="upload"),
        pytest.param("/data/upload/1/data/local-files/?d=x", OWN, None, id="in-upload"),
        pytest.param("http://else/data/local-files/?d=a", OWN, None, id="other-host"),
        pytest.param(
            "https://my.org/wiki/data/local-files/?d=a", BELOW, None, id="other-program"
        ),
        pytest.param("s3://data/local-files/?d=a", OWN, None, id="cloud"),
        pytest.param("", OWN, None, id="nothing"),
    ],
)
def test_local_file_reads_d_as_label_studio_does(
    address: str, access: LabelStudioAccess, path: str | None
) -> None:
    assert local_file(address, access) == path


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_local_file_undoes_what_label_studio_quotes(path: str) -> None:
    # `quote` is what Label Studio's storage writes into a task.
    assert local_file(f"/data/local-files/?d={quote(path)}", OWN) == path

"""Which hosts images are read from, by default and after redirects and DNS."""

import base64

import pytest

from backend.errors import ImageRefused
from backend.images.fetcher import ImageFetcher
from backend.types import LabelStudioAccess
from tests.fetching import NOWHERE, PNG
from tests.web_server import WebServer


def test_fetch_refuses_a_private_address(
    open_fetcher: ImageFetcher, foreign: WebServer, access: LabelStudioAccess
) -> None:
    url = foreign.serve("/a.png", PNG)

    with pytest.raises(ImageRefused, match=r"127\.0\.0\.1.*IMAGE_HOSTS"):
        open_fetcher.fetch(url, access=access)
    with pytest.raises(ImageRefused, match="IMAGE_HOSTS"):
        open_fetcher.fetch(url.replace("127.0.0.1", "localhost"), access=access)
    assert foreign.seen == []


def test_fetch_refuses_a_redirect_to_a_private_address(
    open_fetcher: ImageFetcher,
    label_studio: WebServer,
    foreign: WebServer,
    access: LabelStudioAccess,
) -> None:
    label_studio.redirect("/a.png", foreign.serve("/a.png", PNG))

    with pytest.raises(ImageRefused, match=r"127\.0\.0\.1"):
        open_fetcher.fetch("/a.png", access=access)
    assert foreign.seen == []


def test_fetch_refuses_a_redirect_to_a_host_that_is_not_listed(
    fetcher: ImageFetcher, foreign: WebServer
) -> None:
    url = foreign.redirect("/a.png", "https://example.org/a.png")

    with pytest.raises(ImageRefused, match=r"'example\.org'.*not among IMAGE_HOSTS"):
        fetcher.fetch(url, access=NOWHERE)


def test_fetch_reads_a_learned_label_studio_with_its_own_token_at_the_checked_address(
    label_studio: WebServer,
) -> None:
    lookups: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        lookups.append(host)
        return ["127.0.0.1"]

    fetcher = ImageFetcher(timeout_s=5, resolve=resolve)
    label_studio.serve("/data/upload/1/a.png", PNG)
    access = LabelStudioAccess(
        url=f"http://ls.test:{label_studio.port}", token="learned", may_be_private=True
    )

    fetcher.fetch("/data/upload/1/a.png", access=access)

    (request,) = label_studio.seen
    assert request.headers["host"] == f"ls.test:{label_studio.port}"
    assert request.headers["authorization"] == "Token learned"
    assert lookups == ["ls.test"]


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16"])
def test_fetch_refuses_a_metadata_service_whoever_sends_setup(address: str) -> None:
    fetcher = ImageFetcher(resolve=lambda *_: [address])
    access = LabelStudioAccess(
        url="http://ls.test:8080", token="t", may_be_private=True
    )

    with pytest.raises(ImageRefused, match=address):
        fetcher.fetch("/data/upload/1/a.png", access=access)


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "fd00:ec2::254"])
@pytest.mark.parametrize("hosts", [["*.my.org"], ["images.my.org"], []])
def test_fetch_refuses_a_metadata_service_that_a_name_leads_to(
    hosts: list[str], address: str
) -> None:
    fetcher = ImageFetcher(resolve=lambda *_: [address], image_hosts=hosts)

    with pytest.raises(ImageRefused, match="link-local, or of a cloud") as caught:
        fetcher.fetch("http://images.my.org/a.png", access=NOWHERE)

    assert "IMAGE_HOSTS" not in str(caught.value)


PERSONAL = "a." + base64.urlsafe_b64encode(b'{"token_type": "refresh"}').decode() + ".b"


@pytest.mark.parametrize("hosts", [[], ["x.org"]], ids=["no-rules", "rules"])
@pytest.mark.parametrize("token", ["legacy", PERSONAL, None])
def test_fetch_refuses_a_private_label_studio_of_an_untrusted_setup(
    label_studio: WebServer, hosts: list[str], token: str | None
) -> None:
    fetcher = ImageFetcher(timeout_s=5, image_hosts=hosts)
    access = LabelStudioAccess(url=label_studio.url, token=token)

    with pytest.raises(
        ImageRefused,
        match=r"(?s)(?=.*LABEL_STUDIO_URL)(?=.*IMAGE_HOSTS)"
        r"(?=.*BASIC_AUTH_USER and BASIC_AUTH_PASS)",
    ):
        fetcher.fetch("/data/upload/1/a.png", access=access)

    assert label_studio.seen == []


def test_fetch_reads_a_learned_label_studio_that_image_hosts_names(
    label_studio: WebServer,
) -> None:
    label_studio.serve("/api/token/refresh/", b'{"access": "fresh"}')
    label_studio.serve("/data/upload/1/a.png", PNG)
    fetcher = ImageFetcher(timeout_s=5, image_hosts=["127.0.0.1"])
    access = LabelStudioAccess(url=label_studio.url, token=PERSONAL)

    fetcher.fetch("/data/upload/1/a.png", access=access)

    assert label_studio.seen[1].headers["authorization"] == "Bearer fresh"


def test_fetcher_refuses_image_hosts_that_are_no_hosts() -> None:
    with pytest.raises(ValueError, match="is not a host"):
        ImageFetcher(image_hosts=["http://a.org"])


def test_fetch_refuses_a_redirect_to_a_name_that_resolves_to_a_private_address(
    label_studio: WebServer, access: LabelStudioAccess
) -> None:
    names = {"127.0.0.1": "127.0.0.1", "innocent.org": "10.1.2.3"}
    fetcher = ImageFetcher(timeout_s=5, resolve=lambda host, _: [names[host]])
    label_studio.redirect("/a.png", "http://innocent.org:9000/a.png?sig=s3cret")

    with pytest.raises(
        ImageRefused, match=r"'innocent\.org' has the address 10\.1\.2\.3"
    ) as caught:
        fetcher.fetch("/a.png", access=access)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("presign", "hosts", "entry"),
    [
        pytest.param("http://minio:9000", [], "minio:9000", id="private"),
        pytest.param("http://minio:9000", ["x.org"], "minio:9000", id="not-listed"),
        pytest.param("https://s3.my.org", ["x.org"], "s3.my.org", id="no-port"),
    ],
)
def test_fetch_says_which_host_of_signed_addresses_to_allow(
    label_studio: WebServer,
    access: LabelStudioAccess,
    presign: str,
    hosts: list[str],
    entry: str,
) -> None:
    private = {"127.0.0.1": "127.0.0.1", "minio": "172.18.0.3", "s3.my.org": "10.0.0.9"}
    fetcher = ImageFetcher(
        timeout_s=5, image_hosts=hosts, resolve=lambda host, _: [private[host]]
    )
    label_studio.redirect("/tasks/7/presign/", f"{presign}/b/a.png?sig=s3cret", 303)

    with pytest.raises(ImageRefused, match=f"(?i)add {entry} (there|to IMAGE_HOSTS)"):
        fetcher.fetch("s3://b/a.png", access=access, task_id=7)


def test_fetch_follows_a_signed_address_to_a_private_host_that_is_named(
    label_studio: WebServer, foreign: WebServer, access: LabelStudioAccess
) -> None:
    foreign.serve("/b/a.png", PNG)
    fetcher = ImageFetcher(
        timeout_s=5,
        image_hosts=[f"minio:{foreign.port}"],
        resolve=lambda host, _: ["127.0.0.1"],
    )
    signed = f"http://minio:{foreign.port}/b/a.png?sig=1"
    label_studio.redirect("/tasks/7/presign/", signed, 303)

    image = fetcher.fetch("s3://b/a.png", access=access, task_id=7)

    assert image.pixels.shape == (4, 6, 3)
    assert foreign.seen[0].headers["host"] == f"minio:{foreign.port}"

import pytest

from backend.errors import (
    HostOutOfScope,
    HttpError,
    HttpTimeout,
    ImageError,
    ImageRefused,
    ImageTooLarge,
    ImageTooSlow,
    ResponseCompressed,
    ResponseTooLarge,
)
from backend.label_studio import image_errors, parse_image_url


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        pytest.param(
            HostOutOfScope("Host 'x' is private.", place="[::1]:9000"),
            ImageRefused,
            r"^Host 'x' is private\. If .* add \[::1\]:9000 to IMAGE_HOSTS.*STUDIO_URL",
            id="out-of-scope",
        ),
        pytest.param(
            HttpTimeout("Late."),
            ImageTooSlow,
            r"^Late\. Check the server, or raise FETCH_TIMEOUT_S\.$",
            id="timeout",
        ),
        pytest.param(
            ResponseTooLarge("Large.", status=200),
            ImageTooLarge,
            r"^Large\. Use a smaller copy or raise IMAGE_MAX_BYTES\.$",
            id="too-large",
        ),
        pytest.param(
            ResponseCompressed("Gzip."),
            ImageError,
            r"^Gzip\. Switch compression off for images on that server\.$",
            id="compressed",
        ),
        pytest.param(
            HttpError("Cut {off}."), ImageError, r"^Cut \{off\}\.$", id="else"
        ),
    ],
)
def test_image_errors_adds_what_to_do_about_an_image(
    error: HttpError, kind: type[ImageError], message: str
) -> None:
    with pytest.raises(ImageError, match=message) as caught, image_errors():
        raise error

    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


def test_parse_image_url_says_what_addresses_there_are() -> None:
    assert parse_image_url("http://a.org/x").host == "a.org"
    with pytest.raises(ImageRefused, match=r"'gopher://x/' is not an http.*Supported"):
        parse_image_url("gopher://x/")

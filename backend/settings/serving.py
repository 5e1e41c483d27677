"""The part of the settings that decides about the server and its requests."""

import ipaddress
from typing import Final

from pydantic import SecretStr, ValidationInfo, field_validator

from backend.settings.field_types import Secret, UserName, variable
from backend.settings.segmentation import SegmentationSettings

_MEBIBYTE: Final = 1024 * 1024


class ServingSettings(SegmentationSettings):
    """Where the server listens, to whom, and how much it takes.

    Attributes:
        host: address to listen on. The default is this machine alone; a Label
            Studio in a container, or on another machine, needs "0.0.0.0".
        port: port to listen on.
        threads: requests served at a time; the model itself runs one batch.
        basic_auth_user: with `basic_auth_pass`, what Label Studio must send.
        predict_budget_s: time after which a request answers with what it has.
            Label Studio itself waits 100 s (its ML_TIMEOUT_PREDICT).
        request_max_bytes: largest body of a request.
        request_max_tasks: most tasks in one request for predictions.
        request_timeout_s: time for a request to arrive, and for its answer to be taken.
        answer_memory_bytes: of memory for finished answers.
        answer_cache_bytes: of the cache for the same.
        encoding_memory_bytes: of memory for what encoders made of pictures.
        encoding_cache_bytes: of the cache for the same.
        click_memory_bytes: of memory for pictures that are clicked on.
        click_cache_images: pictures of which the cache keeps what clicks need.
        webhook_secret: what webhooks must have in their path or query.
        page: whether browsers are shown a page.
    """

    host: str = variable(
        "HOST",
        default="127.0.0.1",
        pattern=r"^[\w.:-]+$",
        expects="an address to listen on, such as 127.0.0.1 or 0.0.0.0",
        help="Where to listen. `0.0.0.0` when Label Studio is on another machine or in "
        "a container; set basic auth then.",
    )
    port: int = variable(
        "PORT",
        default=9090,
        ge=1,
        le=65535,
        expects="a port from 1 to 65535",
        help="Port to listen on.",
    )
    threads: int = variable(
        "THREADS",
        default=8,
        ge=1,
        le=128,
        expects="a whole number from 1 to 128",
        help="Requests answered at the same time; those that wait for the model share "
        "its passes. 128 more may wait; any beyond that get an empty answer at once, "
        "and their tasks are computed afterwards.",
    )
    basic_auth_user: UserName = variable(
        "BASIC_AUTH_USER",
        expects="a user name without a colon",
        help="User that Label Studio must send. Webhooks are exempt, because Label "
        "Studio sends no credentials with them.",
    )
    basic_auth_pass: SecretStr | None = variable(
        "BASIC_AUTH_PASS",
        expects="BASIC_AUTH_USER and BASIC_AUTH_PASS together, or neither",
        help="Password that goes with `BASIC_AUTH_USER`.",
    )
    predict_budget_s: float = variable(
        "PREDICT_BUDGET_S",
        default=80.0,
        gt=0,
        le=86_400,
        expects="seconds above 0 and up to 86400, less than Label Studio waits",
        help="Seconds after which a request is answered with what is ready; the rest "
        "is computed afterwards. Label Studio itself waits 100 s.",
    )
    request_max_bytes: int = variable(
        "REQUEST_MAX_BYTES",
        default=32 * _MEBIBYTE,
        ge=1024,
        le=1024 * _MEBIBYTE,
        expects="a whole number of bytes from 1024 to 1073741824",
        help="Larger requests are refused unread (413). Label Studio sends all "
        "selected tasks in one, with their annotations, and with the pictures of "
        "`data:` addresses.",
        shown="`33554432` (32 MiB)",
    )
    request_max_tasks: int = variable(
        "REQUEST_MAX_TASKS",
        default=20_000,
        ge=1,
        expects="a whole number above 0",
        help="Requests for more tasks are refused (400).",
    )
    request_timeout_s: float = variable(
        "REQUEST_TIMEOUT_S",
        default=30.0,
        gt=0,
        le=3600,
        expects="seconds above 0 and up to 3600",
        help="Seconds for a request to arrive, and for its answer to be taken; then "
        "the connection is closed.",
    )
    answer_memory_bytes: int = variable(
        "ANSWER_MEMORY_BYTES",
        default=32 * _MEBIBYTE,
        ge=0,
        expects="a whole number of bytes, 0 for none",
        help="Memory for finished regions, compressed: a picture that is asked for "
        "again is neither decoded nor drawn again while its bytes, the label config, "
        "the options and the model are the same.",
        shown="`33554432` (32 MiB)",
    )
    answer_cache_bytes: int = variable(
        "ANSWER_CACHE_BYTES",
        default=256 * _MEBIBYTE,
        ge=0,
        expects="a whole number of bytes, 0 for none",
        help="The same in the cache, for all processes: a third each for pictures "
        "whose regions take up to 16 kB, 128 kB and 1 MB. The latest push others out.",
        shown="`268435456` (256 MiB)",
    )
    encoding_memory_bytes: int = variable(
        "ENCODING_MEMORY_BYTES",
        default=32 * _MEBIBYTE,
        ge=0,
        expects="a whole number of bytes, 0 for none",
        help="Memory for what the model's encoders made of pictures, 0.13 MB each at "
        "Stable Diffusion 1.5's size. When other labels are looked for in a picture, "
        "it is not encoded again, which is more than half of a pass.",
        shown="`33554432` (32 MiB)",
    )
    encoding_cache_bytes: int = variable(
        "ENCODING_CACHE_BYTES",
        default=128 * _MEBIBYTE,
        ge=0,
        expects="a whole number of bytes, 0 for none",
        help="The same in the cache, for all processes: a third each for pictures that "
        "take up to 160 kB, 512 kB and 2 MB. The latest push others out.",
        shown="`134217728` (128 MiB)",
    )
    click_memory_bytes: int = variable(
        "CLICK_MEMORY_BYTES",
        default=64 * _MEBIBYTE,
        ge=0,
        expects="a whole number of bytes, 0 for none",
        help="Memory for pictures that were clicked on or opened lately: half for what "
        "the model's pass knew of them (up to 0.25 MB each), half for their files.",
        shown="`67108864` (64 MiB)",
    )
    click_cache_images: int = variable(
        "CLICK_CACHE_IMAGES",
        default=512,
        ge=1,
        le=1_000_000,
        expects="a whole number of pictures from 1 to 1000000",
        help="Pictures of which the cache keeps the same, for all processes: up to "
        "0.25 MB each, in as many slots. Whole projects fill none of them; tasks that "
        "are opened, and clicks, do.",
    )
    webhook_secret: Secret = variable(
        "WEBHOOK_SECRET",
        expects="16 to 200 letters, digits, - and _",
        help="Only webhooks that have it are listened to. Connect the backend as "
        "`http://backend:9090/<secret>`; Label Studio then sends its webhooks there "
        "too. One that was entered by hand may have `?secret=<secret>` instead.",
    )

    page: bool = variable(
        "PAGE",
        default=True,
        expects="on or off",
        help="Show browsers [a page](page.md) at the backend's address: a playground, "
        "projects and the state of the backend. `off` answers them as Label Studio.",
    )

    @property
    def is_on_loopback(self) -> bool:
        """Whether the server listens to this machine alone."""
        return is_loopback(self.host)

    @property
    def trusts_setup(self) -> bool:
        """Whether `/setup` can come from trusted callers alone.

        Those on this machine, or those who know the password.
        """
        return self.basic_auth_user is not None or self.is_on_loopback

    @field_validator("basic_auth_pass")
    @classmethod
    def _check_pair(
        cls, value: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if "basic_auth_user" not in info.data:  # it has its own mistake
            return value
        if (value is None) != (info.data["basic_auth_user"] is None):
            raise ValueError("one of the two is set without the other")
        return value


def is_loopback(host: str) -> bool:
    """Say whether who listens on this address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

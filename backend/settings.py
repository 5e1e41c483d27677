"""The environment in, one frozen Settings out: everything an operator decides.

The only reader of the environment. Knows names, units and limits of variables;
imports neither the model nor the server that they are for.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from backend.addresses import HostRule
from backend.errors import SettingsError
from backend.values import LabelStudioAccess

_MEBIBYTE: Final = 1024 * 1024
# Pillow refuses more by itself.
_MOST_PIXELS: Final = 178_956_970
_LONGEST_SHOWN: Final = 80


def _user_cache_dir() -> Path:
    try:
        return Path.home() / ".cache" / "diffsegmenter"
    except RuntimeError:  # a user id without a home, as in some containers
        return Path(tempfile.gettempdir()) / "diffsegmenter"


def _variable(*names: str, expects: str, default: Any = None, **limits: Any) -> Any:
    """A field read from the first of `names`; `expects` completes "Use ..."."""
    if "default_factory" not in limits:
        limits["default"] = default
    return Field(validation_alias=AliasChoices(*names), description=expects, **limits)


class Settings(BaseSettings):
    """Everything an operator may decide. Units are in the names.

    A variable that is unset or blank has its default. `description` of a field is
    what an error tells the operator to use.

    Attributes:
        model: weights, with an optional `@revision`.
        device: where the model runs.
        host: address to listen on. The default is this machine alone; a Label
            Studio in a container, or on another machine, needs "0.0.0.0".
        port: port to listen on.
        threads: requests served at a time; the model itself runs one batch.
        redis_url: shared cache and job queue; None for the embedded cache.
        cache_dir: folder of the embedded cache.
        cache_ttl_s: how long a result is kept after it was made.
        label_studio_url: where this backend reaches Label Studio; no trailing
            slash, the sub-path kept.
        label_studio_api_key: personal access token or legacy token.
        basic_auth_user: with `basic_auth_pass`, what Label Studio must send.
        score_threshold_01: default of every control, None for the segmenter's.
        mode: how the segmenter reads labels.
        presence: "paper" leaves out labels that the picture does not show.
        caption: let a captioner, where the model has one, continue the prompts.
        image_hosts: the only hosts to read images from besides Label Studio, as
            `host`, `host:port` or `*.suffix`; they may be private. Empty: any
            public host.
        image_max_bytes: largest image file.
        image_max_pixels: largest image, rows times columns.
        fetch_timeout_s: time for one image to arrive.
        predict_budget_s: time after which a request answers with what it has.
            Label Studio itself waits 100 s (its ML_TIMEOUT_PREDICT).
        log_level: least severity that is logged.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        validate_default=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    model: str = _variable(
        "MODEL",
        default="pocket",
        min_length=1,
        expects="'pocket', a Hugging Face model id or a folder",
    )
    device: str = _variable(
        "DEVICE",
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        expects="auto, cpu, mps, cuda or cuda:N",
    )
    host: str = _variable(
        "HOST",
        default="127.0.0.1",
        pattern=r"^[\w.:-]+$",
        expects="an address to listen on, such as 127.0.0.1 or 0.0.0.0",
    )
    port: int = _variable(
        "PORT", default=9090, ge=1, le=65535, expects="a port from 1 to 65535"
    )
    threads: int = _variable(
        "THREADS", default=8, ge=1, le=128, expects="a whole number from 1 to 128"
    )
    redis_url: SecretStr | None = _variable(
        "REDIS_URL",
        expects="redis://host:6379/0, rediss://... or unix:///path",
    )
    cache_dir: Path = _variable(
        "CACHE_DIR", default_factory=_user_cache_dir, expects="a folder"
    )
    cache_ttl_s: int = _variable(
        "CACHE_TTL_S",
        default=30 * 24 * 3600,
        ge=1,
        expects="a whole number of seconds above 0",
    )
    label_studio_url: str | None = _variable(
        "LABEL_STUDIO_URL",
        "LABEL_STUDIO_HOST",
        expects="the address of Label Studio, such as http://localhost:8080",
    )
    label_studio_api_key: SecretStr | None = _variable(
        "LABEL_STUDIO_API_KEY",
        "LABEL_STUDIO_ACCESS_TOKEN",
        expects="a token as Label Studio shows it, in one line",
    )
    basic_auth_user: str | None = _variable(
        "BASIC_AUTH_USER", expects="a user name without a colon"
    )
    basic_auth_pass: SecretStr | None = _variable(
        "BASIC_AUTH_PASS",
        expects="BASIC_AUTH_USER and BASIC_AUTH_PASS together, or neither",
    )
    score_threshold_01: float | None = _variable(
        "MODEL_SCORE_THRESHOLD",
        gt=0,
        lt=1,
        expects="a number between 0 and 1, both excluded",
    )
    mode: Literal["paper"] = _variable("MODEL_MODE", default="paper", expects="paper")
    presence: Literal["off", "paper"] = _variable(
        "PRESENCE", default="off", expects="off or paper"
    )
    caption: bool = _variable("CAPTION", default=True, expects="on or off")
    image_hosts: Annotated[tuple[str, ...], NoDecode] = _variable(
        "IMAGE_HOSTS",
        default=(),
        expects="hosts with commas between: images.example.org, minio:9000, *.my.org",
    )
    image_max_bytes: int = _variable(
        "IMAGE_MAX_BYTES",
        default=64 * _MEBIBYTE,
        ge=1,
        expects="a whole number of bytes above 0",
    )
    image_max_pixels: int = _variable(
        "IMAGE_MAX_PIXELS",
        default=100_000_000,
        ge=1,
        le=_MOST_PIXELS,
        expects=f"a whole number from 1 to {_MOST_PIXELS}",
    )
    fetch_timeout_s: float = _variable(
        "FETCH_TIMEOUT_S",
        default=20.0,
        gt=0,
        le=3600,
        expects="seconds above 0 and up to 3600",
    )
    predict_budget_s: float = _variable(
        "PREDICT_BUDGET_S",
        default=80.0,
        gt=0,
        le=86_400,
        expects="seconds above 0 and up to 86400, less than Label Studio waits",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = _variable(
        "LOG_LEVEL", default="INFO", expects="DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Build settings from a mapping, `os.environ` when there is none.

        Raises:
            SettingsError: naming every bad variable at once.
        """
        source = os.environ if environ is None else environ
        given: dict[str, Any] = {
            name: source[name].strip()
            for field in cls.model_fields.values()
            for name in _names(field.validation_alias)
            if source.get(name, "").strip()
        }
        try:
            return cls(**given)
        except ValidationError as e:
            problems = [cls._explain(error, given) for error in e.errors()]
            raise SettingsError("Cannot start:\n  " + "\n  ".join(problems)) from e

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing behind the caller's back: `from_env` passes everything."""
        return (init_settings,)

    @property
    def label_studio(self) -> LabelStudioAccess:
        """Label Studio as the environment describes it."""
        key = self.label_studio_api_key
        return LabelStudioAccess(
            url=self.label_studio_url,
            token=None if key is None else key.get_secret_value(),
            from_environment=True,
        )

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        pattern = r"rediss?://[^/\s]+(/\S*)?|unix://\S*/\S+"
        if value and not re.fullmatch(pattern, value.get_secret_value()):
            raise ValueError("it has no redis://, rediss:// or unix:// with a host")
        return value

    @field_validator("cache_dir")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError as e:
            raise ValueError("its home folder is unknown") from e

    @field_validator("label_studio_url")
    @classmethod
    def _check_label_studio_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "@" in value:
            raise ValueError("a user or password must not be in it")
        if "://" not in value:
            raise ValueError(f"it lacks http:// or https://, as in http://{value}")
        parts = urlsplit(value)  # raises ValueError for a port that cannot be
        is_web = parts.scheme in {"http", "https"} and parts.hostname
        if not is_web or parts.port == 0 or re.search(r"[\s?#]", value):
            raise ValueError("it is not http(s), a host, and perhaps a port and path")
        return value.rstrip("/")

    @field_validator("label_studio_api_key")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("it holds spaces or characters that no token has")
        return value

    @field_validator("basic_auth_user")
    @classmethod
    def _check_user(cls, value: str | None) -> str | None:
        if value and ":" in value:
            raise ValueError("a colon ends a user name in basic authentication")
        return value

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

    @field_validator("image_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [host.strip() for host in value.split(",") if host.strip()]
        for host in value:
            HostRule.parse(host)
        return tuple(value)

    @field_validator("log_level", mode="before")
    @classmethod
    def _raise_case(cls, value: Any) -> Any:
        return value.strip().upper() if isinstance(value, str) else value

    @classmethod
    def _explain(cls, error: ErrorDetails, given: Mapping[str, str]) -> str:
        """One line for one mistake, under the name that the operator used."""
        field = next(
            field
            for field_name, field in cls.model_fields.items()
            if error["loc"][0] in {field_name, *_names(field.validation_alias)}
        )
        names = _names(field.validation_alias)
        name = next((name for name in names if name in given), names[0])
        if name not in given:
            shown = f"{name} (not set)"
        elif SecretStr in get_args(field.annotation):
            shown = f"{name} (value hidden)"
        else:
            shown = f"{name}={_without_password(given[name])!r}"
        reason = "it cannot be read"
        if error["type"] == "value_error":
            reason = error["msg"].removeprefix("Value error, ")
        return f"{shown}: {reason}. Use {field.description}."


def _names(alias: Any) -> list[str]:
    return [str(name) for name in alias.choices]


def _without_password(text: str) -> str:
    text = re.sub(r".*@", "***@", text)
    if len(text) > _LONGEST_SHOWN:
        text = text[: _LONGEST_SHOWN - 3] + "..."
    return text

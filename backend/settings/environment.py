"""The environment in, one frozen Settings out: everything an operator decides.

The only reader of the environment. Knows names, units and limits of variables;
imports neither the model nor the server that they are for.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self, get_args

from pydantic import (
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from backend.errors import SettingsError
from backend.settings.field_types import (
    FilesRoot,
    Folder,
    Formats,
    Hosts,
    LabelStudioUrl,
    LogLevel,
    RedisUrl,
    Token,
    variable,
)
from backend.settings.learning import LearningSettings
from backend.types import LabelStudioAccess
from segmenter import IMAGE_FORMATS, MAX_IMAGE_PIXELS

_MEBIBYTE: Final = 1024 * 1024
_LONGEST_SHOWN: Final = 80


def _user_cache_dir() -> Path:
    try:
        return Path.home() / ".cache" / "diffsegmenter"
    except RuntimeError:  # a user id without a home, as in some containers
        return Path(tempfile.gettempdir()) / "diffsegmenter"


class Settings(LearningSettings):
    """Everything an operator may decide. Units are in the names.

    A variable that is unset or blank has its default. `description` of a field is
    what an error tells the operator to use; `help` is printed in `docs/settings.md`.

    What it decides about masks stands in `SegmentationSettings`, what about the
    server in `ServingSettings`, and what about corrections in `LearningSettings`.

    Attributes:
        redis_url: shared cache and job queue; None for the embedded cache.
        cache_dir: folder of the embedded cache.
        cache_ttl_s: how long a result is kept after it was made.
        label_studio_url: where this backend reaches Label Studio; no trailing
            slash, the sub-path kept.
        label_studio_api_key: personal access token or legacy token.
        image_hosts: the only hosts to read images from besides Label Studio, as
            `host`, `host:port` or `*.suffix`; they may be private. Empty: any
            public host.
        image_formats: file formats that are read, as Pillow spells them.
        image_max_redirects: most redirects on the way to one image.
        local_files_root: Label Studio's folder of local files, where it is mounted
            here as well; None asks Label Studio for them.
        image_max_bytes: largest image file.
        image_max_pixels: largest image, rows times columns.
        max_pixels_in_flight: decoded pixels that are held at a time.
        fetch_timeout_s: time for one image to arrive.
        preannotate_new_tasks: give tasks their predictions as soon as Label Studio
            tells that they were made, by import or by the sync of a storage.
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

    redis_url: RedisUrl = variable(
        "REDIS_URL",
        expects="redis://host:6379/0, rediss://..., unix:///path, "
        "redis+sentinel://host:26379/service/0 or redis+cluster://host:6379",
        help="Cache shared by all machines, and the queue of the workers. Without it "
        "there is an embedded cache in `CACHE_DIR` and no queue.",
    )
    cache_dir: Folder = variable(
        "CACHE_DIR",
        default_factory=_user_cache_dir,
        expects="a folder",
        help="Folder of the embedded cache.",
        shown="`~/.cache/diffsegmenter`",
    )
    cache_ttl_s: int = variable(
        "CACHE_TTL_S",
        default=30 * 24 * 3600,
        ge=1,
        expects="a whole number of seconds above 0",
        help="Seconds until a cached score map expires, counted from when it was made.",
        shown="`2592000` (30 days)",
    )
    label_studio_url: LabelStudioUrl = variable(
        "LABEL_STUDIO_URL",
        "LABEL_STUDIO_HOST",
        expects="the address of Label Studio, such as http://localhost:8080",
        help="Where this backend reaches Label Studio. Needed for `preannotate`, "
        "workers and `PREANNOTATE_NEW_TASKS`.",
        shown="learned from `/setup`",
    )
    label_studio_api_key: Token = variable(
        "LABEL_STUDIO_API_KEY",
        "LABEL_STUDIO_ACCESS_TOKEN",
        expects="a token as Label Studio shows it, in one line",
        help="Personal access token or legacy token of a user who sees the projects.",
        shown="learned from `/setup`",
    )
    image_hosts: Hosts = variable(
        "IMAGE_HOSTS",
        default=(),
        expects="hosts with commas between: images.example.org, minio:9000, *.my.org",
        help="The only hosts to read images from besides Label Studio; they may be in "
        "private networks.",
        shown="any public host",
    )
    image_formats: Formats = variable(
        "IMAGE_FORMATS",
        default=IMAGE_FORMATS,
        expects=f"formats with commas between, out of {', '.join(IMAGE_FORMATS)}",
        help="File formats that are read.",
    )
    image_max_redirects: int = variable(
        "IMAGE_MAX_REDIRECTS",
        default=5,
        ge=0,
        le=20,
        expects="a whole number from 0 to 20",
        help="Redirects that are followed for one image.",
    )
    local_files_root: FilesRoot = variable(
        "LOCAL_FILES_DOCUMENT_ROOT",
        expects="the folder that Label Studio serves local files from, as seen here",
        help="Label Studio's folder of local files, where it is mounted here too. Its "
        "files are then read directly; others are asked from Label Studio.",
    )
    image_max_bytes: int = variable(
        "IMAGE_MAX_BYTES",
        default=64 * _MEBIBYTE,
        ge=1,
        expects="a whole number of bytes above 0",
        help="Larger image files are refused.",
        shown="`67108864` (64 MiB)",
    )
    image_max_pixels: int = variable(
        "IMAGE_MAX_PIXELS",
        default=100_000_000,
        ge=1,
        le=MAX_IMAGE_PIXELS,
        expects=f"a whole number from 1 to {MAX_IMAGE_PIXELS}",
        help="Images with more pixels (rows times columns) are refused.",
    )
    max_pixels_in_flight: int = variable(
        "MAX_PIXELS_IN_FLIGHT",
        default=100_000_000,
        ge=1,
        expects="a whole number above 0",
        help="Pixels of decoded images that are held at a time, by all requests "
        "together. Others wait for room; an image with more goes alone. A pixel takes "
        "3 bytes, and some ten more while it is drawn on.",
    )
    fetch_timeout_s: float = variable(
        "FETCH_TIMEOUT_S",
        default=20.0,
        gt=0,
        le=3600,
        expects="seconds above 0 and up to 3600",
        help="Seconds for one image to arrive, redirects included.",
    )
    preannotate_new_tasks: bool = variable(
        "PREANNOTATE_NEW_TASKS",
        default=False,
        expects="on or off",
        help="Predict tasks as soon as they are imported, or synchronized from a "
        "storage.",
    )
    log_level: LogLevel = variable(
        "LOG_LEVEL",
        default="INFO",
        expects="DEBUG, INFO, WARNING, ERROR or CRITICAL",
        help="Least severity that is logged. `INFO` has a line for every task.",
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

    @field_validator("preannotate_new_tasks")
    @classmethod
    def _check_api(cls, value: bool, info: ValidationInfo) -> bool:
        needed = ("label_studio_url", "label_studio_api_key")
        if value and not all(info.data.get(name, "wrong") for name in needed):
            raise ValueError(
                "predictions are stored through Label Studio's API, for which "
                "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY must be set"
            )
        return value

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
        is_beyond = error["type"].startswith(("greater_than", "less_than"))
        reason = "it is out of range" if is_beyond else "it cannot be read"
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

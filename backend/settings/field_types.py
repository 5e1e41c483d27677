"""Types of settings that need more than a number's limits to be checked.

Each takes the text of one environment variable; a ValueError's message is a half
sentence that `settings.py` puts behind the variable's name.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
)
from pydantic_settings import NoDecode

from backend.http import HostRule
from segmenter import IMAGE_FORMATS


def variable(
    *names: str,
    expects: str,
    help: str,
    shown: str | None = None,
    default: Any = None,
    **limits: Any,
) -> Any:
    """A field read from the first of `names`.

    Args:
        names: of the environment variable; the first is the one that is documented.
        expects: completes "Use ...", in errors.
        help: what the variable changes, for `docs/settings.md`.
        shown: the default as that page has it, where the value says too little.
        default: the value of a variable that is not set.
        limits: passed on to pydantic.
    """
    if "default_factory" not in limits:
        limits["default"] = default
    return Field(
        validation_alias=AliasChoices(*names),
        description=expects,
        json_schema_extra={"help": help, "shown": shown},
        **limits,
    )


def check_redis_url(value: SecretStr | None) -> SecretStr | None:
    """Take a URL that redis-py can be given; it alone judges the rest."""
    pattern = (
        r"rediss?(\+cluster)?://[^/\s]+(/\S*)?"
        r"|rediss?\+sentinel://[^/\s]+/\S+"
        r"|unix://\S*/\S+"
    )
    if value and not re.fullmatch(pattern, value.get_secret_value()):
        raise ValueError(
            "it has no redis://, rediss://, redis+cluster:// or unix:// with a host, "
            "nor redis+sentinel:// with hosts and a service"
        )
    return value


def expand_home(value: Path | None) -> Path | None:
    """Resolve a leading ~."""
    try:
        return value and value.expanduser()
    except RuntimeError as e:
        raise ValueError("its home folder is unknown") from e


def check_files_root(value: Path | None) -> Path | None:
    """Take a folder, but not the root of all of them."""
    folder = expand_home(value)
    if folder is not None and folder.resolve() == Path(folder.resolve().anchor):
        raise ValueError("it would open every file of this machine to tasks")
    return folder


def check_label_studio_url(value: str | None) -> str | None:
    """Take an http(s) address; drop the slash at its end."""
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


def check_token(value: SecretStr | None) -> SecretStr | None:
    """Take what fits into an HTTP header."""
    if value and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
        raise ValueError("it holds spaces or characters that no token has")
    return value


def check_secret(value: SecretStr | None) -> SecretStr | None:
    """Take what fits into a path, and nobody guesses."""
    if value and not re.fullmatch(r"[A-Za-z0-9_-]{16,200}", value.get_secret_value()):
        raise ValueError("it is shorter, longer, or has other characters")
    return value


def check_user(value: str | None) -> str | None:
    """Take a user name that basic authentication can carry."""
    if value and ":" in value:
        raise ValueError("a colon ends a user name in basic authentication")
    return value


def split_hosts(value: Any) -> Any:
    """Split at commas; every entry must be a host."""
    hosts = _split(value)
    for host in hosts:
        HostRule.parse(host)
    return hosts


def split_formats(value: Any) -> Any:
    """Split at commas; every entry must be a format that can be read."""
    formats = tuple(name.upper() for name in _split(value))
    unknown = [name for name in formats if name not in IMAGE_FORMATS]
    if unknown or not formats:
        raise ValueError(f"{', '.join(unknown) or 'it'} is no format read here")
    return formats


def raise_case(value: Any) -> Any:
    """Take a name in lower case for the same in upper case."""
    return value.strip().upper() if isinstance(value, str) else value


def split_words(value: Any) -> Any:
    """Split at commas; what is not set stays so."""
    return None if value is None else _split(value)


def _split(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value)


RedisUrl = Annotated[SecretStr | None, AfterValidator(check_redis_url)]
Folder = Annotated[Path, AfterValidator(expand_home)]
FilesRoot = Annotated[Path | None, AfterValidator(check_files_root)]
LabelStudioUrl = Annotated[str | None, AfterValidator(check_label_studio_url)]
Token = Annotated[SecretStr | None, AfterValidator(check_token)]
Secret = Annotated[SecretStr | None, AfterValidator(check_secret)]
UserName = Annotated[str | None, AfterValidator(check_user)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_hosts)]
Formats = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_formats)]
Words = Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(split_words)]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(raise_case),
]

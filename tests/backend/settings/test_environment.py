import traceback
from pathlib import Path

import pydantic
import pytest

from backend.errors import SettingsError
from backend.settings.environment import Settings
from backend.types import CutOptions
from segmenter import SegmenterOptions


def message_of(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)
    return str(caught.value)


def test_from_env_gives_every_default_for_an_empty_environment() -> None:
    settings = Settings.from_env({})

    assert settings.model == "pocket"
    assert settings.device == "auto"
    assert (settings.host, settings.port) == ("127.0.0.1", 9090)
    assert settings.redis_url is None
    assert settings.cache_dir == Path.home() / ".cache" / "diffsegmenter"
    assert settings.label_studio_url is None
    assert settings.score_threshold_01 is None
    assert settings.image_hosts == ()
    assert settings.image_max_bytes == 64 * 1024 * 1024
    assert settings.image_max_pixels == 100_000_000
    assert settings.predict_budget_s == 80
    assert (settings.mode, settings.presence, settings.caption) == (
        "fast",
        None,
        None,
    )


def test_from_env_reads_every_variable() -> None:
    settings = Settings.from_env(
        {
            "MODEL": "org/model@abc",
            "DEVICE": "cuda:1",
            "HOST": "0.0.0.0",
            "PORT": "8000",
            "THREADS": "2",
            "REDIS_URL": "redis://:word@redis:6379/1",
            "CACHE_DIR": "/var/cache/seg",
            "CACHE_TTL_S": "60",
            "LABEL_STUDIO_URL": "https://ls.example.org",
            "LABEL_STUDIO_API_KEY": "abc",
            "BASIC_AUTH_USER": "me",
            "BASIC_AUTH_PASS": "word",
            "MODEL_SCORE_THRESHOLD": "0.4",
            "MODEL_MODE": "paper",
            "PRESENCE": "paper",
            "PRESENCE_THRESHOLD": "0.3",
            "CAPTION": "off",
            "BOUNDARIES": "guided",
            "BACKGROUND_WORDS": "sky, open sea,",
            "ASPECT": "keep",
            "AS_PUBLISHED": "on",
            "MAX_WINDOWS": "6",
            "DTYPE": "bfloat16",
            "COMPILE": "on",
            "BATCH_SIZE": "16",
            "OVERLAP": "independent",
            "REGIONS": "part",
            "MIN_AREA": "0",
            "MAX_REGIONS": "9",
            "POLYGON_TOLERANCE": "0.01",
            "PREANNOTATE_NEW_TASKS": "on",
            "PAGE": "off",
            "IMAGE_HOSTS": "images.example.org, minio:9000,*.my.org,",
            "IMAGE_FORMATS": "png, JPEG",
            "IMAGE_MAX_REDIRECTS": "0",
            "LOCAL_FILES_DOCUMENT_ROOT": "/mnt/files",
            "IMAGE_MAX_BYTES": "1000",
            "IMAGE_MAX_PIXELS": "2000",
            "FETCH_TIMEOUT_S": "1.5",
            "PREDICT_BUDGET_S": "50",
            "MAX_PIXELS_IN_FLIGHT": "9000",
            "REQUEST_MAX_BYTES": "4096",
            "REQUEST_MAX_TASKS": "7",
            "REQUEST_TIMEOUT_S": "2.5",
            "WEBHOOK_SECRET": "a-secret_0123456789",
            "ANSWER_MEMORY_BYTES": "5",
            "ANSWER_CACHE_BYTES": "6",
            "ENCODING_MEMORY_BYTES": "9100",
            "ENCODING_CACHE_BYTES": "9200",
            "CLICK_MEMORY_BYTES": "0",
            "CLICK_CACHE_IMAGES": "3",
            "LEARNING": "off",
            "LEARN_AFTER": "0",
            "LEARN_MEMORY_BYTES": "1000",
            "LEARN_CACHE_IMAGES": "7",
            "LOG_LEVEL": "debug",
        }
    )

    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:word@redis:6379/1"
    assert settings.basic_auth_pass is not None
    assert settings.basic_auth_pass.get_secret_value() == "word"
    assert settings.webhook_secret is not None
    assert settings.webhook_secret.get_secret_value() == "a-secret_0123456789"
    secrets = {
        *("redis_url", "label_studio_api_key", "basic_auth_pass", "webhook_secret")
    }
    assert settings.model_dump(exclude=secrets) == {
        "model": "org/model@abc",
        "device": "cuda:1",
        "host": "0.0.0.0",
        "port": 8000,
        "threads": 2,
        "answer_memory_bytes": 5,
        "answer_cache_bytes": 6,
        "encoding_memory_bytes": 9100,
        "encoding_cache_bytes": 9200,
        "click_memory_bytes": 0,
        "click_cache_images": 3,
        "learning": False,
        "learn_after": 0,
        "learn_memory_bytes": 1000,
        "learn_cache_images": 7,
        "cache_dir": Path("/var/cache/seg"),
        "cache_ttl_s": 60,
        "label_studio_url": "https://ls.example.org",
        "basic_auth_user": "me",
        "score_threshold_01": 0.4,
        "mode": "paper",
        "presence": "paper",
        "presence_threshold_01": 0.3,
        "caption": False,
        "boundaries": "guided",
        "background_words": ("sky", "open sea"),
        "aspect": "keep",
        "as_published": True,
        "max_windows": 6,
        "dtype": "bfloat16",
        "compile": True,
        "batch_size": 16,
        "image_hosts": ("images.example.org", "minio:9000", "*.my.org"),
        "overlap": "independent",
        "regions": "part",
        "min_area_01": 0.0,
        "max_regions": 9,
        "polygon_tolerance_01": 0.01,
        "image_formats": ("PNG", "JPEG"),
        "image_max_redirects": 0,
        "local_files_root": Path("/mnt/files"),
        "image_max_bytes": 1000,
        "image_max_pixels": 2000,
        "fetch_timeout_s": 1.5,
        "max_pixels_in_flight": 9000,
        "request_max_bytes": 4096,
        "request_max_tasks": 7,
        "request_timeout_s": 2.5,
        "predict_budget_s": 50.0,
        "page": False,
        "preannotate_new_tasks": True,
        "log_level": "DEBUG",
    }


def test_cut_options_are_what_the_environment_says_of_regions() -> None:
    settings = Settings.from_env({"REGIONS": "part"})

    options = SegmenterOptions(
        threshold=0.6, presence_threshold=0.2, boundaries="guided"
    )

    assert settings.cut_options(options) == CutOptions(
        threshold_01=0.6,
        presence_threshold_01=0.2,
        boundaries="guided",
        regions="part",
    )


@pytest.mark.parametrize(
    ("environ", "trusted"),
    [
        pytest.param({}, True, id="this-machine-alone"),
        pytest.param({"HOST": "::1"}, True, id="ipv6"),
        pytest.param({"HOST": "localhost"}, True, id="by-name"),
        pytest.param({"HOST": "0.0.0.0"}, False, id="everybody"),
        pytest.param({"HOST": "10.0.0.7"}, False, id="a-network"),
        pytest.param(
            {"HOST": "0.0.0.0", "BASIC_AUTH_USER": "a", "BASIC_AUTH_PASS": "b"},
            True,
            id="password",
        ),
    ],
)
def test_trusts_setup_where_strangers_cannot_send_it(
    environ: dict[str, str], trusted: bool
) -> None:
    assert Settings.from_env(environ).trusts_setup is trusted


def test_from_env_reads_the_environment_of_the_process_when_given_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORT", "7777")

    assert Settings.from_env().port == 7777


def test_settings_built_by_hand_read_no_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORT", "7777")

    assert Settings.from_env({}).port == 9090
    assert Settings(device="cpu").port == 9090


def test_from_env_names_every_bad_variable_in_one_error() -> None:
    bad = {
        "PORT": "abc",
        "DEVICE": "tpu",
        "HOST": "a b",
        "THREADS": "0",
        "CACHE_TTL_S": "-1",
        "LABEL_STUDIO_URL": "labelstudio:8080",
        "MODEL_SCORE_THRESHOLD": "1",
        "MODEL_MODE": "quick",
        "PRESENCE": "yes",
        "CAPTION": "perhaps",
        "IMAGE_HOSTS": "http://x",
        "IMAGE_MAX_BYTES": "64M",
        "IMAGE_MAX_PIXELS": "999999999",
        "FETCH_TIMEOUT_S": "nan",
        "PREDICT_BUDGET_S": "inf",
        "LOG_LEVEL": "loud",
    }

    message = message_of(bad | {"REDIS_URL": "localhost:6379", "BASIC_AUTH_USER": "me"})

    for name, value in bad.items():
        assert f"{name}={value!r}" in message
    assert "REDIS_URL (value hidden)" in message
    assert "BASIC_AUTH_PASS (not set)" in message
    assert message.count("Use ") == len(bad) + 2


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("rediss://redis", True),
        ("unix:///run/redis.sock", True),
        ("redis+sentinel://:word@a:1,b/main/0?sentinel_password=word", True),
        ("rediss+sentinel://a/main", True),
        ("redis+sentinel://a", False),
        ("redis+cluster://a:1,b:2", True),
        ("rediss+cluster://a", True),
        ("redis+cluster:///0", False),
        ("unix+cluster://a", False),
        ("redis+else://a", False),
    ],
)
def test_from_env_knows_the_schemes_of_redis(url: str, is_taken: bool) -> None:
    if is_taken:
        assert Settings.from_env({"REDIS_URL": url}).redis_url is not None
    else:
        message = message_of({"REDIS_URL": url})
        assert "redis+sentinel://" in message
        assert "redis+cluster://" in message


@pytest.mark.parametrize("blank", ["", "  "])
def test_from_env_takes_a_blank_variable_for_unset(blank: str) -> None:
    settings = Settings.from_env(
        {"PORT": blank, "REDIS_URL": blank, "BASIC_AUTH_USER": blank, "MODEL": blank}
    )

    assert settings == Settings.from_env({})


def test_from_env_ignores_variables_of_others() -> None:
    assert Settings.from_env({"PATH": "/bin", "model": "x"}) == Settings.from_env({})


def test_from_env_reads_the_older_spellings() -> None:
    access = Settings.from_env(
        {"LABEL_STUDIO_HOST": "http://old", "LABEL_STUDIO_ACCESS_TOKEN": "abc"}
    ).label_studio

    assert (access.url, access.token) == ("http://old", "abc")


def test_from_env_prefers_the_newer_spelling_unless_it_is_blank() -> None:
    both = {"LABEL_STUDIO_URL": "http://new", "LABEL_STUDIO_HOST": "http://old"}

    assert Settings.from_env(both).label_studio_url == "http://new"
    both["LABEL_STUDIO_URL"] = ""
    assert Settings.from_env(both).label_studio_url == "http://old"


def test_from_env_names_the_spelling_that_the_operator_used() -> None:
    assert "LABEL_STUDIO_HOST='old'" in message_of({"LABEL_STUDIO_HOST": "old"})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://localhost:8080/", "http://localhost:8080"),
        ("https://example.org/label-studio/", "https://example.org/label-studio"),
        (" http://[::1]:8080 ", "http://[::1]:8080"),
    ],
)
def test_label_studio_url_loses_its_trailing_slash_and_keeps_its_path(
    given: str, kept: str
) -> None:
    assert Settings.from_env({"LABEL_STUDIO_URL": given}).label_studio_url == kept


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("ls:8080", "as in http://ls:8080", id="no-scheme"),
        pytest.param("ftp://ls", "not http", id="ftp"),
        pytest.param("http://ls?x=1", "not http", id="query"),
        pytest.param("http://ls:99999", "Port out of range", id="port"),
        pytest.param("http://", "not http", id="no-host"),
        pytest.param("http://l s", "not http", id="space"),
    ],
)
def test_label_studio_url_that_cannot_be_is_explained(url: str, reason: str) -> None:
    message = message_of({"LABEL_STUDIO_URL": url})

    assert reason in message
    assert "such as http://localhost:8080" in message


def test_label_studio_access_from_the_environment_says_so() -> None:
    assert Settings.from_env({"LABEL_STUDIO_URL": "http://x"}).label_studio == (
        Settings(label_studio_url="http://x").label_studio
    )
    assert Settings.from_env({}).label_studio.from_environment


@pytest.mark.parametrize("name", ["BASIC_AUTH_USER", "BASIC_AUTH_PASS"])
def test_from_env_refuses_half_of_a_user_and_password(name: str) -> None:
    message = message_of({name: "hunter2"})

    assert "BASIC_AUTH_USER and BASIC_AUTH_PASS together" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("threshold", ["0", "1", "-0.5", "nan"])
def test_model_score_threshold_lies_strictly_between_0_and_1(threshold: str) -> None:
    message = message_of({"MODEL_SCORE_THRESHOLD": threshold})

    assert "between 0 and 1" in message


SECRETS = {
    "REDIS_URL": "redis://:s3cret@redis:6379/0",
    "LABEL_STUDIO_API_KEY": "s3cret",
    "BASIC_AUTH_USER": "me",
    "BASIC_AUTH_PASS": "s3cret",
}


def test_repr_never_shows_a_secret() -> None:
    settings = Settings.from_env(SECRETS)

    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings)
    assert "s3cret" not in repr(settings.label_studio)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://:s3cret@redis"),
        ("LABEL_STUDIO_API_KEY", "s3cret with spaces"),
        ("LABEL_STUDIO_URL", "http://me:s3cret@ls"),
        ("LABEL_STUDIO_URL", "http://me:s3cret/x@ls"),
        ("BASIC_AUTH_PASS", "s3cret"),
    ],
)
def test_error_and_its_traceback_never_show_a_secret(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.from_env({name: value, "PORT": "x"})

    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://u:p@h:1/2", "unix:///run/r.sock"]
)
def test_redis_url_may_be_plain_encrypted_or_a_socket(url: str) -> None:
    settings = Settings.from_env({"REDIS_URL": url})

    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url


def test_cache_dir_expands_the_home_folder() -> None:
    settings = Settings.from_env({"CACHE_DIR": "~/seg"})

    assert settings.cache_dir == Path.home() / "seg"


def test_settings_cannot_be_changed() -> None:
    settings = Settings.from_env({})

    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="neither"),
        pytest.param({"LABEL_STUDIO_URL": "http://ls"}, id="no-token"),
        pytest.param({"LABEL_STUDIO_API_KEY": "abc"}, id="no-address"),
    ],
)
def test_from_env_refuses_new_tasks_that_could_not_be_stored(
    given: dict[str, str],
) -> None:
    with pytest.raises(SettingsError, match=r"PREANNOTATE_NEW_TASKS.*must be set"):
        Settings.from_env({"PREANNOTATE_NEW_TASKS": "on", **given})

    assert not Settings.from_env(given).preannotate_new_tasks


def test_from_env_names_a_bad_address_once_where_new_tasks_need_it() -> None:
    variables = {
        "PREANNOTATE_NEW_TASKS": "on",
        "LABEL_STUDIO_URL": "no address",
        "LABEL_STUDIO_API_KEY": "abc",
    }

    with pytest.raises(SettingsError) as caught:
        Settings.from_env(variables)

    assert "LABEL_STUDIO_URL" in str(caught.value)
    assert "PREANNOTATE_NEW_TASKS" not in str(caught.value)


def test_a_password_in_image_hosts_is_not_shown() -> None:
    message = message_of({"IMAGE_HOSTS": "minio:9000, http://me:s3cret@host"})

    assert "IMAGE_HOSTS" in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    "secret", ["brief-one", "x" * 201, "with/slashes/in/it", "äöüäöü" * 5]
)
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    message = message_of({"WEBHOOK_SECRET": secret})

    assert "WEBHOOK_SECRET (value hidden)" in message
    assert secret not in message

"""docker/ against the code. `make containers` builds and runs what it describes."""

import fnmatch
import re
import runpy
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from backend.settings import Settings

REPOSITORY: Final = Path(__file__).parents[3]
DOCKERFILE: Final = REPOSITORY / "docker" / "Dockerfile"
COMPOSE: Final = REPOSITORY / "docker" / "compose.yaml"
# Read by Python, glibc and huggingface_hub, not by us.
OTHERS_VARIABLES: Final = {"PATH", "PYTHONUNBUFFERED", "MALLOC_ARENA_MAX", "HF_HOME"}
# For compose itself; the containers do not see them.
COMPOSE_ONLY: Final = {
    "LABEL_STUDIO_VERSION",
    "LABEL_STUDIO_USERNAME",
    "LABEL_STUDIO_PASSWORD",
    "REDIS_MAXMEMORY",
    "LABEL_STUDIO_PORT",
    "BACKEND_PORT",
}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of the final stage and the build stage, in order."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_compose_gives_the_backend_only_variables_that_settings_read(
    services: dict[str, Any],
) -> None:
    given = set(services["backend"]["environment"])

    assert given <= _settings_names()


def test_the_dockerfile_sets_only_variables_that_somebody_reads(
    instructions: list[tuple[str, str]],
) -> None:
    given = set(_final_environment(instructions))

    assert given <= _settings_names() | OTHERS_VARIABLES


def test_every_variable_that_compose_substitutes_is_known() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))

    assert used <= _settings_names() | COMPOSE_ONLY


def test_compose_and_dockerfile_together_are_settings_that_start(
    services: dict[str, Any], instructions: list[tuple[str, str]]
) -> None:
    values = {"LABEL_STUDIO_API_KEY": "0" * 40}
    environment = _final_environment(instructions) | {
        name: _substitute(str(value), values)
        for name, value in services["backend"]["environment"].items()
    }

    settings = Settings.from_env(environment)

    assert settings.host == "0.0.0.0"
    assert settings.redis_url is not None
    assert settings.label_studio_url == "http://label-studio:8080"


def test_the_backend_listens_on_the_port_that_is_exposed_and_published(
    services: dict[str, Any], instructions: list[tuple[str, str]]
) -> None:
    (exposed,) = (rest for word, rest in instructions if word == "EXPOSE")

    assert _final_environment(instructions)["PORT"] == exposed
    assert services["backend"]["environment"]["PORT"] == exposed
    assert services["backend"]["ports"] == [
        f"127.0.0.1:${{BACKEND_PORT:-9090}}:{exposed}"
    ]


def test_every_published_port_is_bound_to_loopback(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_addresses_in_compose_name_services_of_it(services: dict[str, Any]) -> None:
    environment = services["backend"]["environment"]

    hosts = re.findall(r"://([\w-]+)", " ".join(map(str, environment.values())))

    assert set(hosts) <= set(services)


def test_every_file_that_the_dockerfile_copies_exists_and_is_not_ignored(
    instructions: list[tuple[str, str]],
) -> None:
    copied = [
        source
        for word, rest in instructions
        if word == "COPY" and not rest.startswith("--from")
        for source in shlex.split(rest)[:-1]
    ]

    assert copied
    for source in copied:
        assert (REPOSITORY / source).exists(), source
        assert not _is_ignored(source), source


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(".venv", id="virtual-environment"),
        pytest.param(".git", id="history"),
        pytest.param(".env", id="secrets"),
        pytest.param("tests", id="tests"),
    ],
)
def test_the_build_context_leaves_out_what_no_image_needs(path: str) -> None:
    assert _is_ignored(path)


def test_the_image_holds_every_file_that_pyproject_names(
    instructions: list[tuple[str, str]],
) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    copies = " ".join(rest for word, rest in instructions if word == "COPY").split()

    for named in [project["readme"], *project["license-files"]]:
        assert any(Path(named).is_relative_to(copy) for copy in copies), named


def test_the_container_does_not_run_as_root(
    instructions: list[tuple[str, str]],
) -> None:
    words = [word for word, _ in instructions]
    user = dict(instructions)["USER"]

    assert user.isdigit()
    assert user != "0"
    assert words.index("USER") < words.index("CMD")


@pytest.mark.parametrize("service", ["backend", "worker"])
def test_ours_run_without_rights_on_a_file_system_that_they_cannot_write(
    services: dict[str, Any], instructions: list[tuple[str, str]], service: str
) -> None:
    ours = services[service]
    (written,) = (rest for word, rest in instructions if word == "VOLUME")

    assert ours["read_only"] is True
    assert ours["tmpfs"] == ["/tmp"]
    assert ours["volumes"] == [f"model-cache:{written}"]
    assert ours["cap_drop"] == ["ALL"]
    assert ours["security_opt"] == ["no-new-privileges:true"]


def test_gunicorn_keeps_one_process_and_outlives_the_predict_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in _settings_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("THREADS", "5")
    monkeypatch.setenv("HOST", "::1")
    monkeypatch.setenv("PORT", "9191")

    config = runpy.run_path(str(REPOSITORY / "docker" / "gunicorn.conf.py"))

    assert config["workers"] == 1
    # Threads: one process holds one copy of the weights.
    assert config["worker_class"] == "backend.server.worker.PatientWorker"
    # Beside those that are answered, many wait, and `/health` comes in between.
    assert config["threads"] > 5 + 100
    assert config["bind"] == "[::1]:9191"
    assert config["preload_app"] is False
    # Label Studio's own limit for a prediction.
    assert config["timeout"] > 100
    # What is asked for before a stop is answered: PREDICT_BUDGET_S is 80.
    assert config["graceful_timeout"] > 80


def test_label_studio_may_call_a_backend_on_a_private_address(
    services: dict[str, Any],
) -> None:
    environment = services["label-studio"]["environment"]

    assert environment["LABEL_STUDIO_ML_BLOCK_LOCAL_IP"] == "false"
    assert environment["LABEL_STUDIO_SSRF_PROTECTION_ENABLED"] == "false"


def test_redis_drops_old_entries_instead_of_refusing_new_ones(
    services: dict[str, Any],
) -> None:
    command = shlex.split(services["redis"]["command"])

    assert "--maxmemory" in command
    assert command[command.index("--maxmemory-policy") + 1] == "volatile-lru"


def _settings_names() -> set[str]:
    return {
        name
        for field in Settings.model_fields.values()
        for name in field.validation_alias.choices
    }


def _final_environment(instructions: list[tuple[str, str]]) -> dict[str, str]:
    """What ENV sets after the last FROM."""
    last = max(i for i, (word, _) in enumerate(instructions) if word == "FROM")
    pairs = [
        pair.partition("=")
        for word, rest in instructions[last:]
        if word == "ENV"
        for pair in shlex.split(rest)
    ]
    return {name: value for name, _, value in pairs}


def _substitute(text: str, values: dict[str, str]) -> str:
    """compose's `${NAME}` and `${NAME:-default}`."""
    return re.sub(
        r"\$\{(\w+)(?::-([^}]*))?\}",
        lambda match: values.get(match[1], match[2] or ""),
        text,
    )


def _is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps `path` out: the last pattern that fits decides."""
    ignored = False
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keeps = pattern.startswith("!")
        if fnmatch.fnmatchcase(path, pattern.removeprefix("!")):
            ignored = not keeps
    return ignored


def test_workers_have_the_settings_of_the_backend_whose_predictions_they_make(
    services: dict[str, Any],
) -> None:
    worker, backend = services["worker"], services["backend"]

    assert worker["environment"] == backend["environment"]
    assert worker["image"] == backend["image"]
    assert worker["command"] == ["diffsegmenter", "worker"]


def test_redis_drops_results_before_jobs_and_keeps_both_over_a_restart(
    services: dict[str, Any],
) -> None:
    words = shlex.split(services["redis"]["command"])

    given = dict(pairwise(words))
    assert given["--maxmemory-policy"].startswith("volatile-")
    assert given["--appendonly"] == "yes"
    assert services["redis"]["volumes"] == ["redis-data:/data"]

import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from typer.testing import CliRunner

from backend.cache import open_cache
from backend.cli import build_app
from tests.e2e.processes import answers, free_port, running
from tests.fakes import RED_AND_BLUE, picture
from tests.redis_server import running_redis

ROOT: Final = Path(__file__).parents[3]
# A busy machine imports for a while before it listens.
START_TIMEOUT_S = 60.0


def run_cli(*arguments: str, **variables: str) -> Any:
    return CliRunner().invoke(
        build_app(), arguments, env=variables, catch_exceptions=False
    )


def test_help_lists_the_commands() -> None:
    result = run_cli("--help")

    assert result.exit_code == 0
    assert "serve" in result.output
    assert "segment" in result.output
    assert "doctor" in result.output


def test_cli_shows_its_help_when_called_bare() -> None:
    assert "serve" in run_cli().output


def test_version_names_what_decides_how_masks_come_out() -> None:
    result = run_cli("--version")

    assert result.exit_code == 0
    lines = dict(line.split(" ", 1) for line in result.output.splitlines())
    for name in ("torch", "diffusers", "transformers", "label-studio-sdk"):
        assert lines[name] == metadata.version(name)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert lines["diffsegmenter"] == project["version"]


def test_version_does_not_wait_for_torch() -> None:
    program = (
        "import sys; from backend.cli import build_app; "
        "build_app()(['--version'], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)

    assert done.returncode == 0


# Were the mistake not noticed, these would serve until somebody stops them.
stops_by_itself = pytest.mark.timeout(30)


@stops_by_itself
def test_serve_names_all_mistakes_of_the_environment_and_exits_2() -> None:
    result = run_cli(
        "serve", PORT="high", THREADS="0", MODEL_SCORE_THRESHOLD="2", DEVICE="gpu"
    )

    assert result.exit_code == 2
    for variable in ("PORT", "THREADS", "MODEL_SCORE_THRESHOLD", "DEVICE"):
        assert f"{variable}=" in result.stderr
    assert "Traceback" not in result.output


@stops_by_itself
@pytest.mark.parametrize("name", ["pokcet", "./nowhere", "/no/such/folder", "a/b/c"])
def test_serve_exits_2_for_a_misspelt_model(name: str) -> None:
    result = run_cli("serve", MODEL=name)

    assert result.exit_code == 2
    assert name in result.stderr
    assert "Use 'pocket'" in result.stderr


@stops_by_itself
@pytest.mark.parametrize(
    "url",
    ["redis://:s3cret@localhost:port/0", "redis://:s3cret@localhost/0?colour=red"],
)
def test_serve_exits_2_for_a_redis_url_that_redis_cannot_read(url: str) -> None:
    result = run_cli("serve", REDIS_URL=url)

    assert result.exit_code == 2
    assert "REDIS_URL cannot be read" in result.stderr
    assert "s3cret" not in result.output


# A model that is quickly refused, and an address where nobody is asked.
NO_MODEL = {"MODEL": "./nowhere", "LABEL_STUDIO_URL": "", "LABEL_STUDIO_API_KEY": ""}


def test_doctor_exits_2_for_settings_that_cannot_be_read() -> None:
    result = run_cli("doctor", PORT="high", THREADS="0", LABEL_STUDIO_API_KEY="s 3cret")

    assert result.exit_code == 2
    assert "problem settings: the backend cannot start with these" in result.stdout
    assert "PORT='high': it cannot be read. Use a port from 1 to 65535." in (
        result.stdout
    )
    assert "THREADS=" in result.stdout
    assert "s 3cret" not in result.output


def test_doctor_exits_1_for_a_problem(tmp_path: Path) -> None:
    result = run_cli("doctor", **NO_MODEL, CACHE_DIR=str(tmp_path))

    assert result.exit_code == 1
    assert "problem weights: The model './nowhere' cannot be loaded" in result.stdout
    assert "        -> Use 'pocket'" in result.stdout


def test_doctor_exits_0_for_warnings(tmp_path: Path) -> None:
    variables = {**NO_MODEL, "MODEL": "pocket", "CACHE_DIR": str(tmp_path)}
    result = run_cli("doctor", **variables, PORT=str(free_port()))

    assert result.exit_code == 0
    assert "ok      loading: the model loads in" in result.stdout
    assert "warning Label Studio: LABEL_STUDIO_URL is not set" in result.stdout


def test_doctor_prints_json_and_nothing_else_on_request(tmp_path: Path) -> None:
    settings = {**NO_MODEL, "CACHE_DIR": str(tmp_path)}

    result = run_cli("doctor", "--json", "--project", "7", "--task", "3", **settings)

    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["problems"] == 3
    levels = {found["subject"]: found["level"] for found in report["findings"]}
    assert levels["weights"] == "problem"
    # A project was asked for, and it cannot be had without Label Studio.
    assert levels["Label Studio"] == levels["token"] == "problem"


def test_doctor_prints_json_for_settings_that_cannot_be_read() -> None:
    result = run_cli("doctor", "--json", PORT="high")

    assert result.exit_code == 2
    assert json.loads(result.stdout)["findings"][0]["subject"] == "settings"


@dataclass(frozen=True)
class Server:
    url: str
    log: Path
    first_health: dict[str, Any]
    stop: Callable[[], int]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`diffsegmenter serve` with a model that cannot be loaded."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "model").mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "MODEL": str(folder / "model"),
        "CACHE_DIR": str(folder / "cache"),
        "PORT": str(port),
    }
    with running(
        [sys.executable, "-m", "backend.cli", "serve"],
        environment=environment,
        log_path=folder / "serve.log",
        is_ready=lambda: answers(f"{url}/health"),
        timeout_s=START_TIMEOUT_S,
    ) as process:

        def stop() -> int:
            process.terminate()
            return process.wait(30)

        yield Server(
            url=url,
            log=folder / "serve.log",
            first_health=httpx.get(f"{url}/health", timeout=START_TIMEOUT_S).json(),
            stop=stop,
        )


def test_serve_answers_from_the_start_without_a_model(server: Server) -> None:
    # The first answer comes before torch is imported, which takes seconds; then is the
    # worst time to ask.
    models = [server.first_health["model"]]
    while models[-1] == "loading":
        health = httpx.get(f"{server.url}/health", timeout=START_TIMEOUT_S)
        setup = httpx.post(f"{server.url}/setup", json={}, timeout=START_TIMEOUT_S)

        assert health.json()["status"] == "UP"
        assert setup.json()["model_version"].startswith("diffsegmenter-model-fast-")
        models.append(health.json()["model"])
        time.sleep(0.1)

    assert models[0] == "loading"
    assert models[-1].startswith("failed: ")
    # Whoever asks is not kept until that is over.
    assert models.count("loading") > 2


def test_serve_refuses_to_predict_without_a_model_and_lives_on(server: Server) -> None:
    body = {
        "tasks": [{"id": 1, "data": {"image": picture("red", "blue")}}],
        "label_config": RED_AND_BLUE,
    }

    answer = httpx.post(f"{server.url}/predict", json=body, timeout=START_TIMEOUT_S)

    assert answer.status_code == 503
    assert "cannot be loaded" in answer.json()["error"]["message"]
    health = httpx.get(f"{server.url}/health", timeout=1).json()
    assert health["model"].startswith("failed: ")


def test_serve_ends_cleanly_on_sigterm(server: Server) -> None:
    assert server.stop() == 0

    log = server.log.read_text()
    assert f"listens on {server.url}" in log
    assert "Traceback" not in log
    assert not answers(f"{server.url}/health")


def test_cache_stats_and_clear_speak_of_the_cache_that_serve_uses(
    tmp_path: Path,
) -> None:
    store = open_cache(None, tmp_path, 60)
    for number in range(2):
        store.put(f"key {number}", b"x" * 500)
    store.close()
    variables = {"CACHE_DIR": str(tmp_path), "REDIS_URL": ""}

    before = run_cli("cache", "stats", **variables)
    refused = CliRunner().invoke(
        build_app(), ["cache", "clear"], env=variables, input="n\n"
    )
    still = run_cli("cache", "stats", **variables)
    cleared = run_cli("cache", "clear", "--yes", **variables)
    after = run_cli("cache", "stats", **variables)

    assert f"{tmp_path}" in before.output
    assert "2 results" in before.output
    assert refused.exit_code == 1
    assert "2 results" in still.output
    assert "Forgot 2 results." in cleared.output
    assert "0 results" in after.output


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        pytest.param([], "MB in all, without a limit", id="none"),
        pytest.param(
            ["--maxmemory", "50mb", "--maxmemory-policy", "volatile-lru"],
            "of 52.4 MB in all, policy volatile-lru",
            id="limit",
        ),
    ],
)
def test_cache_stats_says_what_redis_has_room_for(
    limit: list[str], said: str, tmp_path: Path
) -> None:
    with running_redis(extra_args=limit) as server:
        result = run_cli("cache", "stats", REDIS_URL=server.url)

    assert result.exit_code == 0
    assert said in result.output


def test_cache_stats_says_nothing_of_the_room_that_it_may_not_know() -> None:
    with running_redis() as server:
        with server.client() as client:
            rule = "ACL SETUSER cache on >pw ~diffsegmenter:* +scan +strlen"
            client.execute_command(*rule.split())
        url = f"redis://cache:pw@127.0.0.1:{server.port}"
        result = run_cli("cache", "stats", REDIS_URL=url)

    assert result.exit_code == 0
    assert "0 results, 0.0 MB\n" in result.output


def test_a_worker_says_why_its_redis_cannot_be_used() -> None:
    port = free_port()

    result = run_cli(
        "worker",
        REDIS_URL=f"redis://127.0.0.1:{port}/0",
        LABEL_STUDIO_URL="http://127.0.0.1:1",
        LABEL_STUDIO_API_KEY="0" * 40,
    )

    assert result.exit_code == 2
    assert "REDIS_URL cannot be used: connection refused." in result.stderr


@pytest.mark.parametrize("command", [("stats",), ("clear", "--yes")])
def test_cache_commands_name_a_redis_that_is_away(command: tuple[str, ...]) -> None:
    port = free_port()

    result = run_cli("cache", *command, REDIS_URL=f"redis://127.0.0.1:{port}/0")

    assert result.exit_code == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "doctor" in result.stderr


def test_cache_commands_name_settings_that_cannot_be_read() -> None:
    result = run_cli("cache", "stats", REDIS_URL="http://redis")

    assert result.exit_code == 2
    assert "REDIS_URL" in result.stderr

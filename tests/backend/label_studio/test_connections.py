import logging
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from backend.label_studio.connections import LabelStudioConnections
from backend.label_studio.requests import SetupRequest
from backend.types import LabelStudioAccess

NO_ENVIRONMENT = LabelStudioAccess(url=None)


def setup(project: str | None = "1.2", **fields: Any) -> SetupRequest:
    defaults: dict[str, Any] = {
        "hostname": "http://learned:8080",
        "access_token": "learned",
        "label_config": "",
    }
    return SetupRequest(project=project, **{**defaults, **fields})


def environment(url: str | None, token: str | None) -> LabelStudioAccess:
    return LabelStudioAccess(url=url, token=token, from_environment=True)


def test_of_gives_what_a_project_was_set_up_with() -> None:
    connections = LabelStudioConnections(NO_ENVIRONMENT, trusts_setup=False)

    connections.register(setup("1.2", hostname="http://one/"))
    connections.register(setup("2.3", hostname="http://two/ls/", access_token="other"))

    assert connections.get("1.2") == LabelStudioAccess(
        url="http://one", token="learned"
    )
    assert connections.get("2.3") == LabelStudioAccess(
        url="http://two/ls", token="other"
    )


@pytest.mark.parametrize("project", ["9.9", "", None])
def test_of_knows_nothing_of_a_project_that_never_was_set_up(
    project: str | None,
) -> None:
    connections = LabelStudioConnections(NO_ENVIRONMENT, trusts_setup=False)

    connections.register(setup("1.2"))
    connections.register(setup(None))
    connections.register(setup("3.4", hostname=None))

    assert connections.get(project) == NO_ENVIRONMENT
    assert connections.get("3.4") == NO_ENVIRONMENT


def test_of_gives_the_latest_setup() -> None:
    connections = LabelStudioConnections(NO_ENVIRONMENT, trusts_setup=False)

    connections.register(setup(access_token="old"))
    connections.register(setup(access_token="new"))

    assert connections.get("1.2").token == "new"


def test_of_gives_the_address_and_token_of_the_environment_first() -> None:
    given = environment("http://given", "given")
    connections = LabelStudioConnections(given, trusts_setup=True)

    connections.register(setup())

    # What Label Studio calls itself is kept: it may be what it writes into tasks.
    assert connections.get("1.2") == replace(given, external_url="http://learned:8080")
    assert connections.get(None) == given


def test_of_gives_a_learned_token_when_the_environment_has_an_address_alone() -> None:
    connections = LabelStudioConnections(
        environment("http://given", None), trusts_setup=True
    )

    connections.register(setup())

    assert connections.get("1.2") == replace(
        environment("http://given", "learned"), external_url="http://learned:8080"
    )
    assert connections.get("2.3") == environment("http://given", None)


@pytest.mark.parametrize("access_token", ["learned", None])
def test_of_never_sends_the_token_of_the_environment_to_a_learned_host(
    access_token: str | None,
) -> None:
    connections = LabelStudioConnections(environment(None, "given"), trusts_setup=True)

    connections.register(setup(access_token=access_token))

    access = connections.get("1.2")
    assert access.url == "http://learned:8080"
    assert access.token == access_token
    assert not access.from_environment
    assert connections.get("2.3") == NO_ENVIRONMENT


def test_learn_forgets_the_projects_longest_ago_when_they_are_too_many() -> None:
    connections = LabelStudioConnections(NO_ENVIRONMENT, trusts_setup=False)
    connections.register(setup("first"))
    tracemalloc.start()
    try:
        for number in range(11_000):
            connections.register(setup(f"{number}.1"))
        at_the_limit, _ = tracemalloc.get_traced_memory()

        for number in range(11_000, 22_000):
            connections.register(setup(f"{number}.1"))

        later, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert connections.get("first") == NO_ENVIRONMENT
    assert connections.get("21999.1").url == "http://learned:8080"
    assert later < 1.5 * at_the_limit


def test_learn_keeps_a_project_that_is_set_up_again_and_again() -> None:
    connections = LabelStudioConnections(NO_ENVIRONMENT, trusts_setup=False)

    for number in range(12_000):
        connections.register(setup(f"{number}.1"))
        if number in {0, 5_000}:
            connections.register(setup("often"))

    assert connections.get("often").url == "http://learned:8080"
    assert connections.get("0.1") == NO_ENVIRONMENT


@pytest.mark.parametrize("trusts_setup", [True, False])
def test_of_lets_a_learned_address_be_private_only_where_setup_is_trusted(
    trusts_setup: bool,
) -> None:
    connections = LabelStudioConnections(NO_ENVIRONMENT, trusts_setup=trusts_setup)

    connections.register(setup())

    assert connections.get("1.2").may_be_private is trusts_setup


@pytest.mark.parametrize(
    ("fields", "flaw"),
    [
        ({"hostname": "http://me@ls"}, "a user"),
        ({"hostname": "http://me:s3cret@ls"}, "a user"),
        ({"hostname": "http://ls/?s3cret"}, "a query"),
        ({"hostname": "http://ls/#s3cret"}, "a fragment"),
        ({"hostname": "http://ls/s3 cret"}, "white space"),
        ({"hostname": "http://ls/s3\tcret"}, "white space"),
        ({"hostname": "http://" + "x" * 1994}, "its hostname has 2,001 characters"),
        ({"hostname": "ls.example.org"}, "is no http or https address"),
        ({"hostname": "ftp://s3.example.org"}, "is no http or https address"),
        ({"hostname": "http://:8080"}, "is no http or https address"),
        ({"hostname": "http://ls:99999"}, "is no http or https address"),
        ({"hostname": "http://[::1"}, "is no http or https address"),
        ({"hostname": "no address at all"}, "white space"),
        ({"access_token": "x" * 2001}, "its access_token has 2,001 characters"),
        ({"project": "1" * 201}, "its project has 201 characters, the limit is 200"),
    ],
)
def test_learn_ignores_what_no_label_studio_sends(
    fields: dict[str, str], flaw: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    connections = LabelStudioConnections(NO_ENVIRONMENT, trusts_setup=True)
    connections.register(setup("1.2", hostname="http://before"))

    connections.register(setup(**{"project": "1.2", **fields}))

    assert connections.get("1.2").url == "http://before"
    assert connections.get(fields.get("project", "9")) == NO_ENVIRONMENT
    assert flaw in caplog.text
    assert "s3" not in caplog.text


def test_learn_takes_what_is_just_short_enough() -> None:
    connections = LabelStudioConnections(NO_ENVIRONMENT, trusts_setup=True)
    hostname, token, project = "http://" + "x" * 1993, "x" * 2000, "1" * 200

    connections.register(setup(project, hostname=hostname, access_token=token))

    assert connections.get(project) == LabelStudioAccess(
        url=hostname, token=token, may_be_private=True
    )


def test_repr_of_an_access_never_shows_the_token() -> None:
    connections = LabelStudioConnections(NO_ENVIRONMENT, trusts_setup=False)

    connections.register(setup(access_token="s3cret"))

    assert "s3cret" not in repr(connections.get("1.2"))

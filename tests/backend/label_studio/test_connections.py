import logging
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from backend.label_studio.connections import ProjectAccess
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
    projects = ProjectAccess(NO_ENVIRONMENT, trusts_setup=False)

    projects.learn(setup("1.2", hostname="http://one/"))
    projects.learn(setup("2.3", hostname="http://two/ls/", access_token="other"))

    assert projects.of("1.2") == LabelStudioAccess(url="http://one", token="learned")
    assert projects.of("2.3") == LabelStudioAccess(url="http://two/ls", token="other")


@pytest.mark.parametrize("project", ["9.9", "", None])
def test_of_knows_nothing_of_a_project_that_never_was_set_up(
    project: str | None,
) -> None:
    projects = ProjectAccess(NO_ENVIRONMENT, trusts_setup=False)

    projects.learn(setup("1.2"))
    projects.learn(setup(None))
    projects.learn(setup("3.4", hostname=None))

    assert projects.of(project) == NO_ENVIRONMENT
    assert projects.of("3.4") == NO_ENVIRONMENT


def test_of_gives_the_latest_setup() -> None:
    projects = ProjectAccess(NO_ENVIRONMENT, trusts_setup=False)

    projects.learn(setup(access_token="old"))
    projects.learn(setup(access_token="new"))

    assert projects.of("1.2").token == "new"


def test_of_gives_the_address_and_token_of_the_environment_first() -> None:
    given = environment("http://given", "given")
    projects = ProjectAccess(given, trusts_setup=True)

    projects.learn(setup())

    # What Label Studio calls itself is kept: it may be what it writes into tasks.
    assert projects.of("1.2") == replace(given, known_as="http://learned:8080")
    assert projects.of(None) == given


def test_of_gives_a_learned_token_when_the_environment_has_an_address_alone() -> None:
    projects = ProjectAccess(environment("http://given", None), trusts_setup=True)

    projects.learn(setup())

    assert projects.of("1.2") == replace(
        environment("http://given", "learned"), known_as="http://learned:8080"
    )
    assert projects.of("2.3") == environment("http://given", None)


@pytest.mark.parametrize("access_token", ["learned", None])
def test_of_never_sends_the_token_of_the_environment_to_a_learned_host(
    access_token: str | None,
) -> None:
    projects = ProjectAccess(environment(None, "given"), trusts_setup=True)

    projects.learn(setup(access_token=access_token))

    access = projects.of("1.2")
    assert access.url == "http://learned:8080"
    assert access.token == access_token
    assert not access.from_environment
    assert projects.of("2.3") == NO_ENVIRONMENT


def test_learn_forgets_the_projects_longest_ago_when_they_are_too_many() -> None:
    projects = ProjectAccess(NO_ENVIRONMENT, trusts_setup=False)
    projects.learn(setup("first"))
    tracemalloc.start()
    try:
        for number in range(11_000):
            projects.learn(setup(f"{number}.1"))
        at_the_limit, _ = tracemalloc.get_traced_memory()

        for number in range(11_000, 22_000):
            projects.learn(setup(f"{number}.1"))

        later, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert projects.of("first") == NO_ENVIRONMENT
    assert projects.of("21999.1").url == "http://learned:8080"
    assert later < 1.5 * at_the_limit


def test_learn_keeps_a_project_that_is_set_up_again_and_again() -> None:
    projects = ProjectAccess(NO_ENVIRONMENT, trusts_setup=False)

    for number in range(12_000):
        projects.learn(setup(f"{number}.1"))
        if number in {0, 5_000}:
            projects.learn(setup("often"))

    assert projects.of("often").url == "http://learned:8080"
    assert projects.of("0.1") == NO_ENVIRONMENT


@pytest.mark.parametrize("trusts_setup", [True, False])
def test_of_lets_a_learned_address_be_private_only_where_setup_is_trusted(
    trusts_setup: bool,
) -> None:
    projects = ProjectAccess(NO_ENVIRONMENT, trusts_setup=trusts_setup)

    projects.learn(setup())

    assert projects.of("1.2").may_be_private is trusts_setup


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
        ({"access_token": "x" * 2001}, "its access_token has 2,001 characters"),
        ({"project": "1" * 201}, "its project has 201 characters, the limit is 200"),
    ],
)
def test_learn_ignores_what_no_label_studio_sends(
    fields: dict[str, str], flaw: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    projects = ProjectAccess(NO_ENVIRONMENT, trusts_setup=True)
    projects.learn(setup("1.2", hostname="http://before"))

    projects.learn(setup(**{"project": "1.2", **fields}))

    assert projects.of("1.2").url == "http://before"
    assert projects.of(fields.get("project", "9")) == NO_ENVIRONMENT
    assert flaw in caplog.text
    assert "s3" not in caplog.text


def test_learn_takes_what_is_just_short_enough() -> None:
    projects = ProjectAccess(NO_ENVIRONMENT, trusts_setup=True)
    hostname, token, project = "http://" + "x" * 1993, "x" * 2000, "1" * 200

    projects.learn(setup(project, hostname=hostname, access_token=token))

    assert projects.of(project) == LabelStudioAccess(
        url=hostname, token=token, may_be_private=True
    )


def test_repr_of_an_access_never_shows_the_token() -> None:
    projects = ProjectAccess(NO_ENVIRONMENT, trusts_setup=False)

    projects.learn(setup(access_token="s3cret"))

    assert "s3cret" not in repr(projects.of("1.2"))

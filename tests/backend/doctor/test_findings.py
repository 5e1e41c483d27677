import pytest

from backend.doctor.findings import Finding, ok, problem, problem_of, scrub, skipped
from backend.errors import ImageNotFound


def test_skipped_says_why() -> None:
    finding = skipped("image", "there is no project")

    assert finding.level == "skipped"
    assert finding.seen == "because there is no project"


def test_problem_of_takes_an_errors_first_sentence_as_what_was_seen() -> None:
    error = ImageNotFound("x.png is not there (status 404). Check the task. Then go on")

    assert problem_of("image", error) == problem(
        "image", "x.png is not there (status 404)", "Check the task. Then go on"
    )


def test_problem_of_keeps_further_lines_and_always_has_a_remedy() -> None:
    finding = problem_of("config", ValueError("No tag:\n<View>\n\n</View>"))

    assert finding.seen == "No tag:"
    assert finding.remedy
    assert finding.details == ("<View>", "</View>")


def test_problem_of_an_error_without_words_names_its_kind() -> None:
    assert problem_of("x", KeyError()).seen == "KeyError"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        pytest.param("with s3cret here", "with *** here", id="secret"),
        pytest.param("pw", "***", id="short-secret"),
        pytest.param("pwd and pw", "pwd and ***", id="short-secret-in-a-word"),
        pytest.param("xpw and pw", "xpw and ***", id="short-secret-ends-a-word"),
        pytest.param("a+b(c", "***", id="secret-with-regex-characters"),
        pytest.param("eyJhbGciOiJI.eyJ0b2tl.sig-_x!", "***!", id="any-jwt"),
        pytest.param("eyJhbGciOiJI.eyJ0b2tl!", "***!", id="jwt-without-signature"),
        pytest.param("redis://u:x@host/0", "redis://***@host/0", id="login-in-url"),
        pytest.param(
            "at https://s3/a.png?X-Amz-Signature=1, see",
            "at https://s3/a.png see",
            id="signed-url",
        ),
        pytest.param("http://h/a#frag.", "http://h/a", id="fragment"),
        pytest.param("why? #1", "why? #1", id="no-url"),
    ],
)
def test_scrub_takes_secrets_out_of_every_text(text: str, clean: str) -> None:
    finding = Finding(
        level="problem", subject="x", seen=text, remedy=text, details=("a", text)
    )

    scrubbed = scrub(finding, ["s3cret", "pw", "a+b(c", ""])

    assert scrubbed.seen == clean
    assert scrubbed.remedy == clean
    assert scrubbed.details == ("a", clean)


def test_scrub_without_secrets_changes_nothing_else() -> None:
    finding = ok("x", "all is well")

    assert scrub(finding, []) == finding

"""Thousands of tasks that fail make few lines."""

import pytest

from backend.errors import BadTask, ImageNotFound
from backend.inference.failure_log import FailureLog
from backend.inference.predictor import Predictor
from tests.asking import ask
from tests.fakes import picture


def test_failures_alike_are_three_lines_and_a_sum(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with FailureLog() as log:
        for number in range(2000):
            log.add(
                number, ImageNotFound(f"'http://ls/{number}.png' is not there (404).")
            )

    assert [record.getMessage() for record in caplog.records] == [
        "Task 0 has no prediction: 'http://ls/0.png' is not there (404).",
        "Task 1 has no prediction: 'http://ls/1.png' is not there (404).",
        "Task 2 has no prediction: 'http://ls/2.png' is not there (404).",
        "1997 more tasks have no prediction, for a reason like that of task 0.",
    ]


def test_each_kind_of_failure_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with FailureLog() as log:
        for number in range(0, 20, 2):
            log.add(number, ImageNotFound(f"'{number}' is missing."))
            log.add(number + 1, BadTask(f"'{number}' is missing."))
            log.add(number, ImageNotFound(f"'{number}' is away."))

    assert len(caplog.records) == 3 * (3 + 1)
    assert "7 more tasks have no prediction, for a reason like that of task 1." in (
        caplog.text
    )


def test_no_number_of_kinds_makes_many_lines(caplog: pytest.LogCaptureFixture) -> None:
    with FailureLog() as log:
        for number in range(500):
            log.add(number, BadTask(f"Strange{'r' * number} data, " + "x" * 5000))

    assert len(caplog.records) == 31
    assert "470 more tasks have no prediction, for other reasons." in caplog.text
    assert max(len(record.getMessage()) for record in caplog.records) < 1100


def test_a_request_of_bad_tasks_makes_few_lines(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    answers = ask(predictor, *[None] * 3000, picture("red"))

    assert [bool(answer) for answer in answers] == [False] * 3000 + [True]
    assert len(caplog.text) < 5000
    assert "2997 more tasks have no prediction" in caplog.text

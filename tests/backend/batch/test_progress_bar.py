import io
from dataclasses import replace

import pytest
from rich.console import Console

from backend.batch.progress_bar import ProgressBar, print_failures
from backend.batch.run_records import Progress
from tests.clock import Clock

LISTED = Progress(version="v", is_listed=True)


def console(*, is_terminal: bool) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=is_terminal, width=160, color_system=None
    )


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def progress(**fields: int) -> Progress:
    return Progress(**{"version": "v", "is_listed": True, **fields})  # type: ignore[arg-type]


def test_a_console_that_is_no_terminal_gets_a_line_now_and_then(clock: Clock) -> None:
    log = console(is_terminal=False)

    with ProgressBar(log, clock) as bar:
        for done in range(0, 70, 10):
            bar.show(progress(total=100, done=done), "2 workers")
            clock.now += 10

    assert text_of(log).splitlines() == [
        "10 of 100 tasks, 1.0/s (2 workers)",
        "50 of 100 tasks, 1.0/s (2 workers)",
    ]


def test_a_rest_that_waits_for_another_try_has_no_rate(clock: Clock) -> None:
    log = console(is_terminal=False)

    with ProgressBar(log, clock) as bar:
        bar.show(progress(total=10, done=0))
        clock.now += 9
        bar.show(replace(progress(total=10, done=9), waiting_to_retry=1))

    assert text_of(log) == "9 of 10 tasks (1 waiting to retry)\n"


def test_a_line_tells_failures_and_that_tasks_are_still_listed(clock: Clock) -> None:
    log = console(is_terminal=False)

    with ProgressBar(log, clock) as bar:
        clock.now += 31
        bar.show(Progress(version="v", total=9, done=2, failed=1))

    assert text_of(log) == "3 of 9 tasks (1 failed; still listing)\n"


@pytest.mark.parametrize("is_terminal", [False, True], ids=["log", "terminal"])
def test_a_line_does_not_read_notes_as_markup(is_terminal: bool, clock: Clock) -> None:
    log = console(is_terminal=is_terminal)

    with ProgressBar(log, clock) as bar:
        clock.now += 31
        bar.show(progress(total=1), "[bold]no worker[/nothing]")

    assert "[bold]no worker[/nothing]" in text_of(log)


def test_a_terminal_gets_a_bar_with_the_rate_and_the_time_left(clock: Clock) -> None:
    terminal = console(is_terminal=True)

    with ProgressBar(terminal, clock) as bar:
        bar.show(progress(total=7300, done=0))
        clock.now += 50
        bar.show(progress(total=7300, done=100))

    assert "100/7300" in text_of(terminal)
    assert "2.0/s 1:00:00 left 0:00:50" in text_of(terminal)


def test_the_rate_is_of_the_last_minute(clock: Clock) -> None:
    log = console(is_terminal=False)

    with ProgressBar(log, clock) as bar:
        for second in range(600):
            done = second if second < 300 else 300 + (second - 300) // 10
            bar.show(progress(total=1000, done=done))
            clock.now += 1

    assert text_of(log).splitlines()[0].endswith(", 1.0/s")
    assert text_of(log).splitlines()[-1].endswith("/min")


def test_the_rate_of_a_run_that_stands_still_falls(clock: Clock) -> None:
    log = console(is_terminal=False)

    with ProgressBar(log, clock) as bar:
        for second in range(70):
            bar.show(progress(total=1000, done=min(second, 35)))
            clock.now += 1

    assert text_of(log).splitlines() == [
        "4 of 1000 tasks, 1.0/s",
        "35 of 1000 tasks, 1.0/s",
        "35 of 1000 tasks, 29.0/min",
    ]


def test_a_run_that_lost_results_has_no_rate_below_zero(clock: Clock) -> None:
    log, terminal = console(is_terminal=False), console(is_terminal=True)

    for output in (log, terminal):
        with ProgressBar(output, clock) as bar:
            for done in (50, 50, 10):
                bar.show(progress(total=100, done=done))
                clock.now += 31

    assert text_of(log) == "50 of 100 tasks\n10 of 100 tasks\n"
    assert "10/100 -:--:-- left" in " ".join(text_of(terminal).split())


@pytest.mark.parametrize("is_terminal", [False, True], ids=["log", "terminal"])
@pytest.mark.parametrize(
    "shown",
    [
        pytest.param([Progress()], id="nothing-yet"),
        pytest.param([LISTED, LISTED], id="nothing-to-do"),
        pytest.param([progress(total=2, done=3)], id="more-than-all"),
        pytest.param([progress(total=9, done=5), progress()], id="backwards"),
        pytest.param([Progress(is_canceled=True, total=4)], id="canceled"),
    ],
)
def test_show_takes_any_progress(
    is_terminal: bool, shown: list[Progress], clock: Clock
) -> None:
    with ProgressBar(console(is_terminal=is_terminal), clock) as bar:
        for seen in shown:
            clock.now += 31
            bar.show(seen)


def test_print_failures_lists_the_first_and_counts_the_rest() -> None:
    log = console(is_terminal=False)

    print_failures(log, {task: f"[red] reason {task}" for task in range(30, 0, -1)})

    lines = text_of(log).splitlines()
    assert lines[1] == "No prediction for 30 tasks:"
    assert lines[2] == "  task 1: [red] reason 1"
    assert lines[-1] == "  and 10 more; --failures FILE writes all"


def test_print_failures_says_nothing_of_none() -> None:
    log = console(is_terminal=False)

    print_failures(log, {})

    assert text_of(log) == ""


def test_a_rest_that_waits_says_when_it_is_tried(clock: Clock) -> None:
    log = console(is_terminal=False)

    with ProgressBar(log, clock) as bar:
        clock.now += 31
        bar.show(
            replace(
                progress(total=10, done=7, gone=1),
                waiting_to_retry=2,
                retry_in_s=159.6,
            )
        )

    assert text_of(log) == (
        "8 of 10 tasks (1 deleted; 2 waiting to retry, next try in 160 s)\n"
    )


def test_print_failures_gives_each_reason_once_the_most_frequent_first() -> None:
    log = console(is_terminal=False)
    failures = {task: "The host is away." for task in range(40, 28, -1)}
    failures[3] = "The image is damaged."

    print_failures(log, failures)

    assert text_of(log).splitlines() == [
        "",
        "No prediction for 13 tasks:",
        "  12 tasks: The host is away. (29, 30, 31, 32, 33, 34, 35, 36, 37, 38, ...)",
        "  task 3: The image is damaged.",
        "  --failures FILE writes each with its reason",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("http://a/1.png", "http://a/2.png", id="web"),
        pytest.param("/data/upload/1/a.png", "/data/upload/1/b.png", id="upload"),
        pytest.param("'cat'", "'dog'", id="quoted"),
        pytest.param(
            "data:image/png;base64,... (900 characters)",
            "data:image/png;base64,... (12 characters)",
            id="data",
        ),
    ],
)
def test_print_failures_takes_reasons_for_alike_that_name_other_pictures(
    one: str, other: str
) -> None:
    log = console(is_terminal=False)

    print_failures(log, {1: f"{one} is not there.", 2: f"{other} is not there."})

    assert "  2 tasks: … is not there. (1, 2)" in text_of(log).splitlines()


def test_print_failures_tells_reasons_apart_that_differ_otherwise() -> None:
    log = console(is_terminal=False)

    print_failures(log, {1: "http://a/1 (status 404).", 2: "http://a/2 (status 410)."})

    assert text_of(log).splitlines()[1:] == [
        "No prediction for 2 tasks:",
        "  task 1: http://a/1 (status 404).",
        "  task 2: http://a/2 (status 410).",
    ]

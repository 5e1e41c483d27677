import io
import json

from rich.console import Console

from backend.doctor.findings import ok, problem, skipped, warning
from backend.doctor.report import print_findings, print_json

LONG = "http://127.0.0.1:8080/" + "a" * 200


def console(*, is_terminal: bool = False) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return (
        Console(file=file, force_terminal=is_terminal, width=60, no_color=True),
        file,
    )


def test_print_findings_writes_one_line_for_each_thing() -> None:
    out, file = console()
    found = [
        ok("settings", "fine", "a detail"),
        problem("token", LONG, "Set [bold]LABEL_STUDIO_API_KEY[/bold]."),
        skipped("image", "there is none"),
    ]

    assert not print_findings(found, out)
    assert file.getvalue().splitlines() == [
        "ok      settings: fine",
        "           a detail",
        f"problem token: {LONG}",
        "        -> Set [bold]LABEL_STUDIO_API_KEY[/bold].",
        "skipped image: because there is none",
        "",
        "1 problem.",
    ]


def test_print_findings_counts_problems_and_warnings() -> None:
    out, file = console()

    print_findings([problem("a", "b", "c")] * 2 + [warning("a", "b", "c")], out)

    assert file.getvalue().endswith("\n2 problems and 1 warning.\n")


def test_print_findings_says_that_nothing_is_wrong() -> None:
    out, file = console()

    assert print_findings([ok("a", "b")], out)
    assert file.getvalue().endswith("\nNothing is wrong.\n")


def test_print_findings_is_content_with_warnings() -> None:
    out, _ = console()

    assert print_findings([warning("a", "b", "c")], out)


def test_print_findings_wraps_under_the_text_on_a_terminal() -> None:
    out, file = console(is_terminal=True)

    print_findings([problem("token", "word " * 40, "Set it.")], out)

    lines = [line for line in file.getvalue().splitlines() if "word" in line]
    assert len(lines) > 1
    assert all("        word" in line for line in lines[1:])


def test_print_findings_shows_each_before_the_next_is_looked_for() -> None:
    out, file = console()
    seen: list[str] = []

    def findings():  # type: ignore[no-untyped-def]
        yield ok("first", "x")
        seen.append(file.getvalue())
        yield ok("second", "x")

    print_findings(findings(), out)

    assert "first" in seen[0]


def test_print_json_is_one_object_that_scripts_can_read() -> None:
    out, file = console()
    found = [problem("token", LONG, "Set [it].", "Größe"), ok("cache", "fine")]

    assert not print_json(found, out)
    assert json.loads(file.getvalue()) == {
        "problems": 1,
        "warnings": 0,
        "findings": [
            {
                "level": "problem",
                "subject": "token",
                "seen": LONG,
                "remedy": "Set [it].",
                "details": ["Größe"],
            },
            {
                "level": "ok",
                "subject": "cache",
                "seen": "fine",
                "remedy": None,
                "details": [],
            },
        ],
    }

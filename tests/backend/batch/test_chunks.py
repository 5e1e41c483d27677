import json

import pytest

from backend.batch.chunks import Chunk

CHUNK = Chunk(
    project_id=7,
    task_ids=(11, 12, 13),
    version="v",
    stores=False,
    replaces=True,
    run_id="7-ab",
    places=(4, 5, 6),
    attempts=2,
)
ALONE = Chunk(project_id=7, task_ids=(11,), version="v")


@pytest.mark.parametrize("chunk", [CHUNK, ALONE], ids=["of-a-run", "alone"])
def test_from_json_reads_what_to_json_wrote(chunk: Chunk) -> None:
    assert Chunk.from_json(json.loads(json.dumps(chunk.to_json()))) == chunk


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="nothing"),
        pytest.param({**ALONE.to_json(), "task_ids": ["x"]}, id="no-number"),
        pytest.param({**ALONE.to_json(), "task_ids": None}, id="no-list"),
    ],
)
def test_from_json_refuses_something_else(fields: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Chunk.from_json(fields)


def test_part_keeps_order_places_and_tries() -> None:
    part = CHUNK.part([13, 11, 99])

    assert (part.task_ids, part.places, part.attempts) == ((11, 13), (4, 6), 2)
    assert part.replaces


def test_part_of_what_is_in_no_run_has_no_places() -> None:
    assert ALONE.part([11], attempts=1) == Chunk(
        project_id=7, task_ids=(11,), version="v", attempts=1
    )


def test_places_of_names_places_of_known_tasks() -> None:
    assert CHUNK.places_of([13, 12, 99]) == [6, 5]
    assert ALONE.places_of([11]) == []

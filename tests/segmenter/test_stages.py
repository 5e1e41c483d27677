"""Stages are told to who listens, and to nobody else."""

import pytest

from segmenter.stages import stage, told_to


def test_stage_tells_how_long_it_took_even_if_it_breaks() -> None:
    told: list[tuple[str, float]] = []

    with told_to(lambda name, seconds: told.append((name, seconds))):
        with stage("encode"):
            pass
        with pytest.raises(ZeroDivisionError), stage("maps"):
            _ = 1 / 0
    with stage("backbone"):
        pass

    assert [name for name, _ in told] == ["encode", "maps"]
    assert all(seconds >= 0 for _, seconds in told)


def test_stage_times_every_call_of_what_it_decorates() -> None:
    @stage("presence")
    def decorated(number: int) -> int:
        return number + 1

    told: list[str] = []
    with told_to(lambda name, seconds: told.append(name)):
        assert [decorated(1), decorated(2)] == [2, 3]

    assert told == ["presence", "presence"]

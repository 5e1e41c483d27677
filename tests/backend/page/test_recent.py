"""What the page holds between two requests is bounded."""

import pytest
from werkzeug.exceptions import Gone

from backend.page.recent import Recent


def test_recent_pushes_out_what_was_not_asked_for_longest() -> None:
    recent: Recent[str] = Recent(most=2, most_bytes=100)
    first, second = recent.put("a", 1), recent.put("b", 1)
    recent.get(first)

    third = recent.put("c", 1)

    assert (recent.get(first), recent.get(third)) == ("a", "c")
    with pytest.raises(Gone, match="Choose it again"):
        recent.get(second)


def test_recent_holds_so_many_bytes_and_the_latest_whatever_its_size() -> None:
    recent: Recent[str] = Recent(most=9, most_bytes=100)
    small = recent.put("small", 60)

    large = recent.put("large", 300)

    assert recent.get(large) == "large"
    with pytest.raises(Gone):
        recent.get(small)


@pytest.mark.parametrize("name", [None, 5, [], "never"])
def test_recent_knows_no_other_names(name: object) -> None:
    with pytest.raises(Gone):
        Recent(most=1, most_bytes=1).get(name)

"""How presence is judged of what a head and the words say of an image."""

import numpy as np

from segmenter.heads.evidence import fit_presences
from segmenter.heads.trials import Trial


def trial(top: float, *, words_01: float = 0.01, shows: bool = False) -> Trial:
    """An image in which a head scores so high at most."""
    return Trial(
        scores=np.full((4, 6), top, np.float32),
        words=np.zeros((4, 6), np.float32),
        words_01=words_01,
        cover=np.full((4, 6), float(shows), np.float32),
    )


def trials(n_shown: int, n_others: int, *, words_01: float = 0.01) -> list[Trial]:
    rng = np.random.default_rng(0)
    shown = [trial(3, words_01=words_01, shows=True) for _ in range(n_shown)]
    return shown + [trial(rng.normal(-3)) for _ in range(n_others)]


def test_a_label_is_judged_present_where_its_head_scores_high() -> None:
    bias, words, top = fit_presences({"zork": trials(4, 12)})["zork"]

    assert words == 0
    assert bias + 3 * top > 0 > bias - 3 * top


def test_more_is_asked_for_where_the_labels_of_a_project_are_rare() -> None:
    zork = trials(3, 2)

    often = fit_presences({"zork": zork})["zork"]
    rarely = fit_presences({"zork": zork, "never": trials(0, 20)})["zork"]

    assert rarely[0] < often[0] - 0.5


def test_words_count_where_they_found_the_label() -> None:
    found = fit_presences({"zork": trials(4, 12, words_01=0.9)})["zork"]

    assert found[1] > 0


def test_what_too_few_images_show_is_not_judged() -> None:
    assert fit_presences({"zork": trials(1, 5), "never": trials(0, 6)}) == {}
    assert fit_presences({}) == {}

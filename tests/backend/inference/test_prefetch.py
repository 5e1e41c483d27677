"""Tasks in, images as they arrive out, with a fetch function of our own."""

import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backend.errors import BackendError, BadTask, ImageError, ImageNotFound
from backend.inference.prefetch import FetchResult, Job, PendingTask, Prefetcher
from backend.types import Control, CutOptions, FetchedImage, ImageTag, Label, Task
from tests.clock import no_longer_than

CAT = Label(name="cat", prompts=("cat", "kitten"))
DOG = Label(name="dog", prompts=("dog", "cat"))


def control(
    *labels: Label, name: str = "tag", value: str = "$image", is_list: bool = False
) -> Control:
    return Control(
        from_name=name,
        image=ImageTag(name=f"<{value}>", value=value, is_list=is_list),
        shape="brush",
        labels=labels or (CAT,),
        cut=CutOptions(threshold_01=0.5),
        mode="fast",
    )


def an_image(job: Job) -> FetchedImage:
    return FetchedImage(pixels=np.zeros((2, 3, 3), np.uint8), digest=job.address)


def intake(
    *data: dict[str, Any],
    controls: tuple[Control, ...] = (control(),),
    fetch: Callable[[Job], FetchedImage] = an_image,
) -> Prefetcher:
    tasks = [Task(id=number, data=one) for number, one in enumerate(data)]
    return Prefetcher(tasks, lambda task: controls, fetch)


def all_arrivals(of: Prefetcher) -> list[FetchResult]:
    results: list[FetchResult] = []
    with of:
        while not of.is_empty:
            results += of.take_results(10)
    return results


def only_broken(of: Prefetcher) -> tuple[PendingTask, Exception]:
    with of:
        (task,) = of.take_failed()
    (failure,) = task.failures
    return task, failure


def test_intake_hands_out_every_image_once() -> None:
    data = [{"image": f"{number}.png"} for number in range(50)]

    results = all_arrivals(intake(*data))

    places = sorted(result.job.task.index for result in results)
    assert places == list(range(50))
    assert all(isinstance(result.image, FetchedImage) for result in results)


@pytest.mark.parametrize(("asked", "given"), [(1, 4), (6, 6), (1000, 32)])
def test_intake_hands_out_as_many_together_as_are_wanted_within_bounds(
    asked: int, given: int
) -> None:
    tasks = [Task(id=number, data={"image": f"{number}.png"}) for number in range(80)]

    with Prefetcher(tasks, lambda task: (control(),), an_image, at_once=asked) as of:
        while len(of._fetching) < given or not all(f.done() for f in of._fetching):
            pass
        results = of.take_results(10)

    assert len(results) == given


def test_intake_makes_one_job_of_all_controls_on_an_image() -> None:
    controls = (control(CAT, name="a"), control(DOG, name="b"))

    (result,) = all_arrivals(intake({"image": "x.png"}, controls=controls))

    assert result.job.controls == controls
    assert result.job.prompts == {"fast": ("cat", "kitten", "dog")}
    assert result.job.item_index is None


def test_intake_makes_a_job_of_every_page() -> None:
    pages = control(value="$pages", is_list=True)
    data = {"pages": ["0.png", "", "2.png", None, "4.png"]}

    results = all_arrivals(intake(data, controls=(pages,)))

    jobs = sorted((a.job for a in results), key=lambda job: job.number)
    assert [(job.item_index, job.address) for job in jobs] == [
        (0, "0.png"),
        (2, "2.png"),
        (4, "4.png"),
    ]
    assert jobs[0].task.jobs_left == 3


def test_intake_takes_one_address_for_a_list_of_one() -> None:
    paged = control(value="$pages", is_list=True)
    plain = control(value="$image")
    data = {"pages": "a.png", "image": ["b.png"]}

    results = all_arrivals(intake(data, controls=(paged, plain)))

    assert {(a.job.item_index, a.job.address) for a in results} == {
        (0, "a.png"),
        (None, "b.png"),
    }


def test_intake_leaves_out_an_image_that_a_task_does_not_have() -> None:
    two = (control(value="$left"), control(value="$right"))

    (result,) = all_arrivals(intake({"right": "r.png"}, controls=two))

    assert result.job.address == "r.png"
    assert result.job.task.jobs_left == 1


@pytest.mark.parametrize(
    ("data", "kind", "told"),
    [
        pytest.param({}, ImageNotFound, "no image in '$image'", id="missing"),
        pytest.param({"image": " "}, ImageNotFound, "has ['image']", id="blank"),
        pytest.param({"image": 7}, BadTask, "int '7' in '$image'", id="number"),
        pytest.param({"image": {"url": "x"}}, BadTask, "dict", id="object"),
        pytest.param(
            {"image": ["a", "b"]}, BadTask, 'valueList="$image"', id="several-images"
        ),
    ],
)
def test_intake_breaks_a_task_without_an_address(
    data: dict[str, Any], kind: type[BackendError], told: str
) -> None:
    _, failure = only_broken(intake(data))

    assert type(failure) is kind
    assert told in str(failure)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        pytest.param(
            "$image-url", "reads the field 'image' and adds '-url'", id="dash"
        ),
        pytest.param("https://host/$name.png?x", "has ['image-url']", id="template"),
    ],
)
def test_intake_asks_for_no_address_with_a_gap_in_it(value: str, told: str) -> None:
    image = control(value=value)

    _, failure = only_broken(intake({"image-url": "a.png"}, controls=(image,)))

    assert type(failure) is ImageNotFound
    assert told in str(failure)


def test_intake_breaks_a_task_that_brings_no_labels() -> None:
    _, failure = only_broken(intake({"image": "a.png"}, controls=()))

    assert type(failure) is BadTask
    assert '[{"value": "cat"}]' in str(failure)


@pytest.mark.parametrize("error", [ImageError("gone"), ZeroDivisionError("a bug")])
def test_intake_hands_out_what_a_fetch_raised(error: Exception) -> None:
    def fetch(job: Job) -> FetchedImage:
        if job.address == "bad":
            raise error
        return an_image(job)

    results = all_arrivals(intake({"image": "bad"}, {"image": "good"}, fetch=fetch))

    images = {result.job.address: result.image for result in results}
    assert images["bad"] is error
    assert isinstance(images["good"], FetchedImage)


def test_intake_does_not_wait_for_a_slow_image_while_others_are_here() -> None:
    slow = threading.Event()

    def fetch(job: Job) -> FetchedImage:
        if job.address == "slow":
            slow.wait(30)
        return an_image(job)

    data = [{"image": "slow"}, *({"image": f"{n}"} for n in range(30))]
    with intake(*data, fetch=fetch) as images:
        quick: list[FetchResult] = []
        with no_longer_than(10):
            while len(quick) < 30:
                quick += images.take_results(20)
        slow.set()
        (last,) = images.take_results(20)

    assert last.job.address == "slow"
    assert images.is_empty


def test_intake_holds_a_bounded_number_of_images() -> None:
    """Counted by what lives, fetched and not yet let go."""
    alive: list[weakref.ref[FetchedImage]] = []

    def fetch(job: Job) -> FetchedImage:
        image = an_image(job)
        alive.append(weakref.ref(image))
        if int(job.address) % 8 == 0:
            raise ImageError("an image that fails, with pixels in its frame")
        return image

    most = 0
    data = [{"image": f"{number}"} for number in range(200)]
    failed: list[Exception] = []
    with intake(*data, fetch=fetch) as images:
        while not images.is_empty:
            results = images.take_results(20)
            failed += [a.image for a in results if isinstance(a.image, Exception)]
            most = max(most, sum(image() is not None for image in alive))

    del results
    assert len(failed) == 25
    assert most <= 16
    assert sum(image() is not None for image in alive) == 0


def test_intake_begins_the_next_fetches_before_it_hands_images_out() -> None:
    begun = threading.Semaphore(0)

    def fetch(job: Job) -> FetchedImage:
        begun.release()
        return an_image(job)

    data = [{"image": f"{number}"} for number in range(24)]
    with intake(*data, fetch=fetch) as images:
        results = images.take_results(20)
        # While these are segmented the others are fetched.
        expected = 12 + len(results)
        assert all(begun.acquire(timeout=20) for _ in range(expected))


def test_take_arrivals_does_not_wait_when_no_time_is_left() -> None:
    hold = threading.Event()

    def fetch(job: Job) -> FetchedImage:
        hold.wait(30)
        return an_image(job)

    with intake({"image": "a"}, fetch=fetch) as images:
        with no_longer_than(10):
            assert images.take_results(0) == []
            assert images.take_results(-5) == []
        hold.set()

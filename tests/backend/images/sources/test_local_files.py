import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.deadline import Deadline
from backend.errors import ImageError, ImageRefused, ImageTooLarge
from backend.images.sources.local_files import LocalFiles
from tests.clock import Clock, no_longer_than
from tests.examples import at_most
from tests.fetching import PNG, SECRET

# What is to be hung on here would hang for ever.
pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def files(root: Path) -> LocalFiles:
    return LocalFiles(root, max_bytes=100_000)


@pytest.fixture
def deadline(clock: Clock) -> Deadline:
    return Deadline.after(5, clock)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("set 1/a b.png", id="plain"),
        pytest.param("/set 1/a b.png", id="leading-slash"),
        pytest.param("//set 1//a b.png", id="double-slashes"),
        pytest.param("./set 1/./a b.png", id="dots"),
        pytest.param("set 1/inner/../a b.png", id="up-and-down"),
        pytest.param("other/../set 1/a b.png", id="up-from-nowhere"),
        pytest.param("set 1/a b.png/", id="trailing-slash"),
        pytest.param("/../set 1/a b.png", id="up-from-the-root"),
    ],
)
def test_read_finds_a_file_by_every_spelling_that_label_studio_takes(
    files: LocalFiles, deadline: Deadline, path: str
) -> None:
    assert files.read_file(path, deadline) == PNG


@pytest.mark.parametrize(
    "path", ["none.png", "set 1/none.png", "set 1/a b.png/x", "x" * 5000, "set 1\\a b"]
)
def test_read_answers_none_for_what_is_not_there(
    files: LocalFiles, deadline: Deadline, path: str
) -> None:
    assert files.read_file(path, deadline) is None


def test_read_answers_none_while_the_root_is_not_mounted(
    tmp_path: Path, deadline: Deadline
) -> None:
    files = LocalFiles(tmp_path / "later", max_bytes=100)

    before = files.read_file("a.png", deadline)
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a.png").write_bytes(b"x")

    assert before is None
    assert files.read_file("a.png", deadline) == b"x"


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "set 1/../../secret",
        "../files-2/a.png",
        "..",
        "../../../../../../../etc/passwd",
        "../none.png",
        "out/secret",
        "set 1/secret.png",
        "set 1/absolute.png",
        "set 1/to-nothing.png",
    ],
)
def test_read_refuses_every_way_out_of_the_root(
    files: LocalFiles, root: Path, deadline: Deadline, path: str
) -> None:
    (root / "out").symlink_to("..")
    (root / "set 1" / "secret.png").symlink_to("../../secret")
    (root / "set 1" / "absolute.png").symlink_to(root.parent / "secret")
    (root / "set 1" / "to-nothing.png").symlink_to("../../gone")

    with pytest.raises(ImageRefused, match="leads out") as caught:
        files.read_file(path, deadline)

    message = str(caught.value)
    assert repr(path) in message
    assert f"LOCAL_FILES_DOCUMENT_ROOT ({root})" in message
    assert "Move the file below that folder" in message


def test_read_follows_links_within_the_root_and_a_root_that_is_a_link(
    root: Path, deadline: Deadline
) -> None:
    (root / "link.png").symlink_to("set 1/a b.png")
    (root / "set 2").symlink_to(root / "set 1")
    (root.parent / "mount").symlink_to(root)
    files = LocalFiles(root.parent / "mount", max_bytes=100_000)

    assert files.read_file("link.png", deadline) == PNG
    assert files.read_file("set 2/a b.png", deadline) == PNG


def test_read_reads_what_the_users_own_folders_let_pass_but_not_list(
    files: LocalFiles, root: Path, deadline: Deadline
) -> None:
    (root / "set 1").chmod(0o311)

    assert files.read_file("set 1/a b.png", deadline) == PNG


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is short
        listener.bind(path.name)
        os.chdir(here)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(os.mkfifo, id="pipe"),
        pytest.param(Path.mkdir, id="folder"),
        pytest.param(bind_socket, id="socket"),
    ],
)
def test_read_refuses_what_is_no_regular_file_without_waiting_for_it(
    files: LocalFiles, root: Path, deadline: Deadline, make: Callable[[Path], None]
) -> None:
    make(root / "odd.png")

    with (
        no_longer_than(10),
        pytest.raises(ImageRefused, match=r"'odd\.png'.* is a folder, pipe or device"),
    ):
        files.read_file("odd.png", deadline)


def test_read_refuses_the_root_itself(files: LocalFiles, deadline: Deadline) -> None:
    with pytest.raises(ImageRefused, match="is a folder"):
        files.read_file(".", deadline)


def test_read_refuses_a_link_that_leads_to_itself(
    files: LocalFiles, root: Path, deadline: Deadline
) -> None:
    (root / "loop.png").symlink_to("loop.png")

    with pytest.raises(ImageError, match=r"loop\.png.*cannot be read: Too many levels"):
        files.read_file("loop.png", deadline)


def test_read_refuses_a_zero_byte(files: LocalFiles, deadline: Deadline) -> None:
    with pytest.raises(ImageRefused, match="zero byte"):
        files.read_file("a\0.png", deadline)


def test_read_takes_exactly_the_limit_of_bytes(root: Path, deadline: Deadline) -> None:
    enough = LocalFiles(root, max_bytes=len(PNG))
    short = LocalFiles(root, max_bytes=len(PNG) - 1)

    assert enough.read_file("set 1/a b.png", deadline) == PNG
    with pytest.raises(ImageTooLarge, match=f"{len(PNG)} bytes.*IMAGE_MAX_BYTES"):
        short.read_file("set 1/a b.png", deadline)


def test_read_stops_at_the_limit_in_a_file_that_grows_or_hides_its_size(
    tmp_path: Path, deadline: Deadline
) -> None:
    # Files of /proc say that they hold 0 bytes.
    files = LocalFiles(Path("/proc/self"), max_bytes=10)

    with pytest.raises(ImageTooLarge, match="more than 10 bytes"):
        files.read_file("status", deadline)


def test_read_gives_up_at_the_deadline(
    root: Path, clock: Clock, deadline: Deadline
) -> None:
    (root / "large.png").write_bytes(bytes(3_000_000))
    files = LocalFiles(root, max_bytes=10_000_000)
    clock.now += 6

    with pytest.raises(ImageError, match=r"large\.png.*within 5 s.*FETCH_TIMEOUT_S"):
        files.read_file("large.png", deadline)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_read_explains_a_file_that_cannot_be_read(deadline: Deadline) -> None:
    files = LocalFiles(Path("/proc/self"), max_bytes=100_000)

    with pytest.raises(ImageError, match=r"'mem'.*cannot be read: Input/output error"):
        files.read_file("mem", deadline)


@contextlib.contextmanager
def without_the_powers_of_root() -> Iterator[None]:
    """Root may read everything, so act as nobody if the tests run as root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_read_explains_a_file_without_permission(deadline: Deadline) -> None:
    # Not in `tmp_path`, which is closed to others above the test's own folder.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "a b.png").write_bytes(b"pixels")
        (Path(folder) / "a b.png").chmod(0)
        files = LocalFiles(Path(folder), max_bytes=1000)

        with (
            without_the_powers_of_root(),
            pytest.raises(ImageError, match=r"'a b.png'.*Permission denied.*Let the"),
        ):
            files.read_file("a b.png", deadline)


def test_read_opens_no_file_outside_while_links_are_swapped_in(
    files: LocalFiles, root: Path, deadline: Deadline
) -> None:
    """Somebody who may write below the root turns a folder into a link and back."""
    (root.parent / "out").mkdir()
    (root.parent / "out" / "a b.png").write_bytes(SECRET)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "set 1").rename(root / "aside")
            (root / "set 1").symlink_to(root.parent / "out")
            (root / "set 1").unlink()
            (root / "aside").rename(root / "set 1")

    swapper = threading.Thread(target=swap)
    swapper.start()
    found, n_reads = set(), 0
    # Its own file may stay out of sight for long where the other thread is starved.
    while n_reads < 3000 or PNG not in found:
        n_reads += 1
        try:
            found.add(files.read_file("set 1/a b.png", deadline))
        except ImageError:
            found.add(None)
    stop.set()
    swapper.join()

    assert PNG in found
    assert SECRET not in found


@pytest.mark.parametrize("root", ["/", "/..", "//"])
def test_local_files_refuses_the_whole_file_system_for_a_root(root: str) -> None:
    with pytest.raises(ValueError, match="holds every file of this machine"):
        LocalFiles(Path(root), max_bytes=1)


@settings(
    max_examples=at_most(200),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.sampled_from(
            ["..", ".", "", "set 1", "secret", "files", "a b.png", "inner"]
        ),
        max_size=6,
    )
)
def test_read_gives_the_secret_for_no_path(
    files: LocalFiles, deadline: Deadline, parts: list[str]
) -> None:
    with contextlib.suppress(ImageRefused):
        assert files.read_file("/".join(parts), deadline) != SECRET


# With the fetcher before it.

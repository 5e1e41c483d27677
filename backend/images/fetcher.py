"""Addresses of a task's images in, upright RGB pixels out.

Knows the order of the steps: a source reads the file (`source.py`), and `decoding.py`
its pixels.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from backend.deadline import Deadline
from backend.errors import ImageError, ImageRefused
from backend.http import HostRule, Resolve, resolve_host, shorten
from backend.images.decoding import CUT_OFF, check_formats, decode_image
from backend.images.files import RecentFiles
from backend.images.pixel_budget import PixelBudget, PixelHold
from backend.images.source import ImageRequest, SourceLimits, open_sources
from backend.images.status_errors import name_image
from backend.label_studio import SUPPORTED
from backend.types import FetchedImage, ImageFile, LabelStudioAccess, Turn
from segmenter import IMAGE_FORMATS

logger = logging.getLogger(__name__)

_ANY_TURN: Final = Turn()


class ImageFetcher:
    """Thread-safe reader of images."""

    def __init__(
        self,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_pixels: int = 100_000_000,
        max_pixels_held: int = 100_000_000,
        timeout_s: float = 20.0,
        max_redirects: int = 5,
        formats: Sequence[str] = IMAGE_FORMATS,
        image_hosts: Sequence[str] = (),
        local_files_root: Path | None = None,
        recent_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
        resolve: Resolve = resolve_host,
    ) -> None:
        """Set the limits of every fetch.

        Args:
            max_bytes: largest file.
            max_pixels: largest rows times columns.
            max_pixels_held: of all images that were fetched and not released. Further
                ones are decoded when there is room; one that is larger goes alone.
            timeout_s: for one image, its redirects and token included.
            max_redirects: how many are followed for one image.
            formats: allowed kinds of files, some of `IMAGE_FORMATS`.
            image_hosts: `host`, `host:port` or `*.suffix`: the only hosts to read
                from besides Label Studio, private ones included. Empty: any
                public host.
            local_files_root: the folder that Label Studio knows as its
                LOCAL_FILES_DOCUMENT_ROOT, where it is shared with this backend.
                What is not in it is asked from Label Studio.
            recent_bytes: of files, still encoded, that were read for somebody who
                waits, and that may be wanted again at the next click; 0 for none.
            clock: monotonic seconds.
            resolve: host and port -> IP addresses.

        Raises:
            ValueError: if an entry of `image_hosts` is no host, a format is unknown
                or `local_files_root` is the whole file system.
        """
        self._max_pixels = max_pixels
        self._budget = PixelBudget(max_pixels_held)
        self._timeout_s = timeout_s
        self._formats = check_formats(formats)
        self._clock = clock
        self._recent = RecentFiles(recent_bytes, clock)
        self._sources = open_sources(
            SourceLimits(
                max_bytes=max_bytes,
                max_redirects=max_redirects,
                image_hosts=tuple(HostRule.parse(entry) for entry in image_hosts),
                local_files_root=local_files_root,
                clock=clock,
                resolve=resolve,
            )
        )

    def fetch(
        self,
        address: str,
        *,
        access: LabelStudioAccess,
        task_id: int | None = None,
        turn: Turn = _ANY_TURN,
        max_age_s: float = 0,
    ) -> FetchedImage:
        """Read one image and decode it: `read` and `decode` in one."""
        file = self.read(
            address, access=access, task_id=task_id, turn=turn, max_age_s=max_age_s
        )
        return self.decode(file, turn=turn)

    def read(
        self,
        address: str,
        *,
        access: LabelStudioAccess,
        task_id: int | None = None,
        turn: Turn = _ANY_TURN,
        max_age_s: float = 0,
    ) -> ImageFile:
        """Read the file of one image.

        The token of `access` goes to files below `access.url` and nowhere else.
        `access` also widens where images may be, see `network_scope`.

        Args:
            address: a path on Label Studio, an http(s) address, a data: URI, or,
                with `task_id`, a cloud storage URI.
            access: the Label Studio that the task comes from.
            task_id: the task's id, None when unknown.
            turn: what is urgent may be wanted again soon: its file is kept for a
                while.
            max_age_s: how long ago the file may have been read, where it is kept.

        Raises:
            ImageError: or one of its children. No message holds a token, password,
                query string or image.
        """
        address = address.strip()
        with _frames_dropped():
            _refuse_half_characters(address)
            # Of one Label Studio under one token: nobody sees what is another's.
            name = (address, access, task_id)
            data = self._recent.get(name, max_age_s)
            if data is None:
                data = self._read(
                    ImageRequest(
                        address=address,
                        access=access,
                        task_id=task_id,
                        deadline=Deadline.after(self._timeout_s, self._clock),
                    )
                )
                if turn.is_urgent and not address.startswith("data:"):
                    self._recent.put(name, data)
        return ImageFile(
            data=data,
            digest=hashlib.sha256(data).hexdigest(),
            address=address,
            access=access,
        )

    def is_at_hand(self, address: str) -> bool:
        """Whether an address holds the image itself: to read it waits for nobody."""
        return address.lstrip()[:5].lower() == "data:"

    def decode(self, file: ImageFile, *, turn: Turn = _ANY_TURN) -> FetchedImage:
        """Decode a file when it is its turn. Whoever gets the image releases it.

        That is not part of the time for fetching.

        Raises:
            ImageError: as `read`.
        """
        with _frames_dropped(), ExitStack() as on_failure:

            def admit(n_pixels: int) -> None:
                hold = self._budget.take(n_pixels, turn)
                holds.append(hold)
                on_failure.callback(hold.release)

            holds: list[PixelHold] = []
            try:
                picture = decode_image(
                    file.data,
                    max_pixels=self._max_pixels,
                    formats=self._formats,
                    admit=admit,
                )
            except ImageError as e:
                name = name_image(file.address, file.access)
                raise type(e)(f"{name}: {e}") from e
            on_failure.pop_all()
        (hold,) = holds
        hold.release_with(picture.pixels)
        if not picture.is_complete:
            logger.warning("%s: %s", name_image(file.address, file.access), CUT_OFF)
        return FetchedImage(
            pixels=picture.pixels, digest=file.digest, release=hold.release
        )

    def _read(self, request: ImageRequest) -> bytes:
        """What the first source that takes the address reads there."""
        for source in self._sources:
            data = source.read(request)
            if data is not None:
                return data
        raise ImageRefused(
            f"{shorten(request.address)!r} is not an address this backend reads. "
            f"{SUPPORTED}"
        )


@contextmanager
def _frames_dropped() -> Iterator[None]:
    try:
        yield
    except ImageError as e:
        _drop_frames(e)
        raise


def _drop_frames(error: BaseException | None) -> None:
    """Let go of the stacks below a refusal, which hold what was read of the file.

    A refusal is kept until its request is answered, and its message says it all.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _refuse_half_characters(address: str) -> None:
    """JSON can spell a lone half of a surrogate pair, which no bytes can hold."""
    try:
        address.encode()
    except UnicodeEncodeError as e:
        raise ImageRefused(
            f"{shorten(address)!r} holds half a character at position {e.start}. "
            f"Import the address again."
        ) from e

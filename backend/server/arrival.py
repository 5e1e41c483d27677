"""Bytes of one HTTP request as they come in, whether it is whole out.

Pure: no socket, no clock. gunicorn's own parser reads the head, once, so that both of
us mean the same request; where it refuses one, there is nothing to wait for.
"""

import re
from typing import Any, Final

from gunicorn.config import Config
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import Unreader

# gunicorn would read a megabyte of headers; Label Studio sends less than a kilobyte.
LONGEST_HEAD_BYTES: Final = 64 * 1024
_HEAD_END: Final = b"\r\n\r\n"
_CHUNK_SIZE: Final = re.compile(rb"[0-9a-fA-F]+(?=[ \t]*(?:;|$))")
# What an application reads at once.
_PIECE_BYTES: Final = 64 * 1024


class _Gathered(Unreader):  # type: ignore[misc]
    """What has come of a request, as gunicorn's parser reads it.

    gunicorn copies all that it holds at each read, however little is read: 3 MB took 50
    ms, ten times as many a hundred times as long. It is given little at a time.
    """

    def __init__(self, data: bytearray) -> None:
        super().__init__()
        self.data = data

    def chunk(self, size_hint: int | None = None) -> bytes:
        """See gunicorn; empty where nothing more has come."""
        piece = bytes(self.data[:_PIECE_BYTES])
        del self.data[: len(piece)]
        return piece

    def take_buffered(self) -> bytes:
        """See gunicorn; what came behind the request as well."""
        data: bytes = super().take_buffered() + bytes(self.data)
        self.data.clear()
        return data


class _Parser(RequestParser):  # type: ignore[misc]
    """gunicorn's, which may have read the head already when it is asked for it."""

    def __init__(self, config: Config, source: _Gathered, sender: Any) -> None:
        super().__init__(config, (), sender)
        self.unreader = source
        self._is_ahead = False

    def read_ahead(self) -> Any:
        """Read the head; the next who asks for a request gets it."""
        request = super().__next__()
        self._is_ahead = True
        return request

    def __next__(self) -> Any:
        if self._is_ahead:
            self._is_ahead = False
            return self.mesg
        return super().__next__()


class Arrival:
    """One request on its way.

    Attributes:
        data: all of it so far, but for a head that has been read; what the parser has
            given to whoever asked it is gone.
        parser: gives the request, once it is complete.
        has_head: method, path and headers are here.
        is_complete: nothing more is to be waited for: it is whole, too large, or not
            HTTP.
        too_large_bytes: what its body has at least, where that is too much; else None.
        awaits_go_ahead: it came with `Expect: 100-continue`, and its body is wanted.
    """

    def __init__(self, config: Config, sender: Any, *, max_body_bytes: int) -> None:
        """Wait for the first byte.

        Args:
            config: gunicorn's, whose limits of heads hold.
            sender: the address that it comes from, as the socket has it.
            max_body_bytes: a larger body is not waited for.
        """
        self.data = bytearray()
        self.parser = _Parser(config, _Gathered(self.data), sender)
        self.has_head = False
        self.is_complete = False
        self.too_large_bytes: int | None = None
        self.awaits_go_ahead = False
        self._config = config
        self._sender = sender
        self._max_body_bytes = max_body_bytes
        self._searched = 0
        # Where the next chunk begins, and what chunks held so far.
        self._chunk_start: int | None = None
        self._chunked_bytes = 0
        self._whole_at: int | None = None

    def feed(self, data: bytes) -> None:
        """Take what has arrived since."""
        self.data += data
        if not self.has_head:
            self._read_head()
        if self._chunk_start is not None and not self.is_complete:
            self._read_chunks()
        if self._whole_at is not None and len(self.data) >= self._whole_at:
            self.is_complete = True

    def _read_head(self) -> None:
        # A client may send empty lines before its request.
        if self._searched == 0:
            while self.data[:2] == b"\r\n":
                del self.data[:2]
            if bytes(self.data) in {b"", b"\r"}:
                return
        end = self.data.find(_HEAD_END, max(0, self._searched - 3))
        self._searched = len(self.data)
        if end < 0:
            return
        end += len(_HEAD_END)
        head = bytes(self.data[:end])
        del self.data[:end]
        self.has_head = True
        self.parser.unreader.unread(head)
        try:
            request = self.parser.read_ahead()
        # The border to gunicorn's parser, which meets the same when it is its turn.
        except Exception:
            source = _Gathered(self.data)
            source.unread(head)
            self.parser = _Parser(self._config, source, self._sender)
            self.is_complete = True
            return
        self._begin_body(request)

    def _begin_body(self, request: Any) -> None:
        reader = request.body.reader
        if isinstance(reader, ChunkedReader):
            self._chunk_start = 0
        elif isinstance(reader, LengthReader):
            self._whole_at = reader.length
            self._check_size(reader.length)
        else:
            self._whole_at = 0
        is_wanted = self.too_large_bytes is None
        self.awaits_go_ahead = is_wanted and request._expected_100_continue

    def _read_chunks(self) -> None:
        """Step from chunk to chunk, as far as their sizes are here."""
        assert self._chunk_start is not None
        while self._chunk_start < len(self.data) and not self.is_complete:
            line_end = self.data.find(b"\r\n", self._chunk_start)
            if line_end < 0:
                # A line that does not end is none; gunicorn will say so.
                self.is_complete = len(self.data) - self._chunk_start > 8190
                return
            size = _CHUNK_SIZE.match(self.data, self._chunk_start, line_end)
            if size is None:
                self.is_complete = True
                return
            n_bytes = int(size[0], 16)
            if n_bytes == 0:
                self._read_trailer(line_end)
                return
            self._chunked_bytes += n_bytes
            self._check_size(self._chunked_bytes)
            self._chunk_start = line_end + 2 + n_bytes + 2

    def _read_trailer(self, line_end: int) -> None:
        trailer = self.data[line_end + 2 :]
        is_empty = trailer[:2] == b"\r\n"
        self.is_complete = (
            is_empty or _HEAD_END in trailer or len(trailer) > LONGEST_HEAD_BYTES
        )

    def _check_size(self, n_bytes: int) -> None:
        if n_bytes > self._max_body_bytes:
            self.too_large_bytes = n_bytes
            self.is_complete = True

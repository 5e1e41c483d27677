"""Refusals of the backend. Each message says what happened and what to do.

BackendError
├── SettingsError      the operator's environment is wrong
├── BadRequest         the whole request is refused (HTTP 400)
│   └── BadLabelConfig the label config cannot be segmented
├── BadTask            one task's data lacks what the label config refers to
├── HttpError          no whole response of a web server, whoever asked and why
│   ├── InvalidUrl     not an http or https address
│   ├── HostOutOfScope  in a network that the request may not reach
│   │   └── HostReserved  link-local, or a cloud's metadata service
│   ├── HttpTimeout    no whole response until the deadline
│   ├── ResponseTooLarge  more bytes than are read
│   └── ResponseCompressed  in an encoding that was not asked for
├── ImageError         one task's image cannot be had; its batch goes on
│   ├── ImageNotFound  missing, 404, or no value in the task
│   ├── ImageMaybeDeleted  Label Studio answered 500 for an upload
│   ├── ImageRefused   not allowed: host, scheme, path
│   ├── ImageUnauthorized  Label Studio answered 401 or 403
│   ├── ImageTooLarge  bytes or pixels over the limit
│   ├── ImageTooSlow   no whole answer within FETCH_TIMEOUT_S
│   └── ImageUnreadable  not an image, damaged, or an unsupported kind
├── LabelStudioError   Label Studio's API does not do what is asked
│   ├── LabelStudioUnavailable     no answer, or one that passes: worth another try
│   └── LabelStudioRefusal  it will not, however often it is asked
├── FeedbackUnavailable  where corrections are kept cannot be used now
├── BadMask            an RLE stream or mask that cannot be (de)coded
└── UnreadableScores   cached bytes that are no score maps (`score_codec.py`)
"""

from collections.abc import Iterator


class BackendError(Exception):
    """Root of everything this package refuses on purpose."""


class SettingsError(BackendError):
    """The environment holds missing or impossible values; names all of them."""


class BadRequest(BackendError):
    """The request as a whole makes no sense; nothing in it can be answered."""


class BadLabelConfig(BadRequest):
    """The label config has nothing to segment, or cannot be read."""


class BadTask(BackendError):
    """A task's data lacks what the label config refers to. Sinks that task alone."""


class HttpError(BackendError):
    """A web server gave no whole response. Says no word of what it was for."""


class InvalidUrl(HttpError):
    """The text is not the address of a web server."""


class HostOutOfScope(HttpError):
    """The host lies in a network that the request may not reach.

    Attributes:
        place: the host and port, as `host:port`.
    """

    def __init__(self, message: str, *, place: str) -> None:
        super().__init__(message)
        self.place = place


class HostReserved(HostOutOfScope):
    """It is where clouds hand out the credentials of a machine."""


class HttpTimeout(HttpError):
    """The deadline passed before the whole response was there."""


class ResponseTooLarge(HttpError):
    """The body has more bytes than the caller reads.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class ResponseCompressed(HttpError):
    """The body is compressed, though that was not asked for."""


class ImageError(BackendError):
    """A task's image cannot be had. Sinks that task, never the batch."""


class ImageNotFound(ImageError):
    """The task names no image, or nothing is there."""


class ImageMaybeDeleted(ImageError):
    """Label Studio broke down at an upload, as it does at one that was deleted."""


class ImageRefused(ImageError):
    """The address is not one this backend may read."""


class ImageUnauthorized(ImageError):
    """Label Studio did not accept the token, or there is none."""


class ImageTooLarge(ImageError):
    """More bytes or pixels than the settings allow."""


class ImageTooSlow(ImageError):
    """The host did not answer in time, or so often not that it is left alone."""


class ImageUnreadable(ImageError):
    """The bytes are not an image that can be segmented."""


class LabelStudioError(BackendError):
    """Label Studio's API does not do what is asked."""


class LabelStudioUnavailable(LabelStudioError):
    """No answer, or one that says that Label Studio is busy or broken just now."""


class LabelStudioRefusal(LabelStudioError):
    """Label Studio answered that it will not.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class FeedbackUnavailable(BackendError):
    """What projects have learned cannot be read or written, for now."""


class BadMask(BackendError):
    """A mask or an RLE stream that cannot be encoded or decoded."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

"""Refusals of the segmenter. Each says what happened, the limit and the remedy.

SegmenterError
├── BadImage          not a uint8 (Y, X, 3) array with at least one pixel
├── BadClick          a click or a box that does not lie in the image
├── BadLabel          a label without a character that can be read
├── PictureError      an image file that is not decoded
│   ├── PictureTooLarge    more pixels than the caller allows
│   └── PictureUnreadable  not an image, damaged, or of a kind that is not read
│       ├── PictureFormatRefused  of a format that the caller does not allow
│       └── WebPageInstead        HTML
├── WeightsNotFound   no model at that name, or parts of it are missing
├── UnsupportedModel  the parts load but this method cannot read them
├── UnusableDevice    there is no such device, or it is too small
└── UnusablePrecision no such precision, or the device does not compute in it
"""


class SegmenterError(Exception):
    """Root of everything this package refuses on purpose."""


class BadImage(SegmenterError):
    """The image is not an array that can be segmented."""


class PictureError(SegmenterError):
    """An image file that is not decoded."""


class PictureTooLarge(PictureError):
    """An image with more pixels than the caller allows."""

    def __init__(self, *, found: str, max_pixels: int) -> None:
        super().__init__(
            f"The image has too many pixels: {found}; the limit is {max_pixels:,} in "
            f"all. Use a smaller copy."
        )
        self.found = found
        self.max_pixels = max_pixels


class PictureUnreadable(PictureError):
    """The bytes are not an image that can be decoded."""


class PictureFormatRefused(PictureUnreadable):
    """An image of a format that could be read and is not allowed."""

    def __init__(self, *, found: str, allowed: tuple[str, ...]) -> None:
        super().__init__(
            f"The image is a {found} file; allowed are {', '.join(allowed)}. Convert "
            f"it."
        )
        self.found = found
        self.allowed = allowed


class WebPageInstead(PictureUnreadable):
    """A web page came where an image was to be."""

    def __init__(self) -> None:
        super().__init__(
            "There is a web page in place of an image, perhaps one to log in."
        )


class BadClick(SegmenterError):
    """A click or a box that says nothing of the image."""


class BadLabel(SegmenterError):
    """A label that gives the text encoder nothing to read."""

    def __init__(self, label: str) -> None:
        super().__init__(
            f"The label {label!r} holds no character that a text encoder can read. "
            f"Give it a name, for example 'cat'."
        )
        self.label = label


class WeightsNotFound(SegmenterError):
    """The model's files cannot be had from where its name points."""

    def __init__(self, model: str, cause: str) -> None:
        super().__init__(
            f"The model {model!r} cannot be loaded: {cause}. Use 'pocket' or "
            f"'pocket-mmdit' (bundled), a directory in diffusers layout, or a hub id "
            f"such as 'stable-diffusion-v1-5/stable-diffusion-v1-5' (optionally "
            f"@revision) on a machine that reaches the hub or has it in its cache."
        )
        self.model = model
        self.cause = cause


class UnsupportedModel(SegmenterError):
    """The parts load, but cross- and self-attention cannot be read from them."""


class UnusableDevice(SegmenterError):
    """What torch says of a device, whatever the model."""

    def __init__(self, device: str, reason: str) -> None:
        super().__init__(
            f"The device {device!r} cannot be used ({reason}). Take 'auto', or 'cpu'."
        )
        self.device = device
        self.reason = reason


class UnusablePrecision(SegmenterError, ValueError):
    """A precision that is none, or not the device's."""

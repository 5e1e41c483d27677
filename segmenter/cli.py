"""The `segment` command: a picture and labels in, an overlay and a table out."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from segmenter import (
    Box,
    Click,
    Mode,
    ModelSource,
    PictureError,
    ScoreMaps,
    SegmenterError,
    SegmenterOptions,
    UnusableDevice,
    decode_image,
    find_recipe,
    load_segmenter,
    recipe_options,
    refine_mask,
)
from segmenter.masks import label_colour, paint_overlay
from segmenter.types import Segmentation

_console = Console()
_errors = Console(stderr=True)
_CUT_OFF: Final = "ends before its image does; what is there is segmented."


def segment_picture(
    picture: Annotated[Path, typer.Argument(help="An image file.")],
    labels: Annotated[list[str], typer.Argument(help="What to look for.")],
    out: Annotated[
        Path, typer.Option(help="Where the overlay goes.", dir_okay=False)
    ] = Path("overlay.png"),
    click: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y",
            help="A pixel that belongs to the first label's object; with a minus "
            "before it (--click -30,200), one that does not. Repeat for more.",
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            metavar="X0,Y0,X1,Y1",
            help="What it holds is added to the first label's object.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="pocket, a directory, or a hub id, with @revision if wanted."
        ),
    ] = "pocket",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16, float16.")
    ] = "auto",
    mode: Annotated[
        Mode,
        typer.Option(help="fast: all labels in one pass; paper: one pass a label."),
    ] = "fast",
    threshold: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.99, help="Background score; else the mode's."),
    ] = None,
    presence: Annotated[
        Literal["off", "paper", "calibrated"] | None,
        typer.Option(help="How to leave out labels that the picture does not show."),
    ] = None,
    presence_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="What a label needs to be taken for present."),
    ] = None,
    boundaries: Annotated[
        Literal["off", "guided"] | None,
        typer.Option(help="guided: edges of masks follow the picture's."),
    ] = None,
    caption: Annotated[
        bool | None, typer.Option(help="Let the captioner speak; else as the mode has.")
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Paper mode to the letter: a sample of the latent, no antialiasing.",
        ),
    ] = False,
) -> None:
    """Paint LABELS on PICTURE and say how sure the segmenter is of each."""
    # Libraries below announce their fallbacks; a user of one command needs none.
    logging.basicConfig(level=logging.ERROR)
    # None takes the recipe's, or the mode's.
    given: dict[str, Any] = {
        "threshold": threshold,
        "presence": presence,
        "presence_threshold": presence_threshold,
        "boundaries": boundaries,
        "caption": caption,
        "as_published": as_published,
    }
    try:
        options = recipe_options(find_recipe(ModelSource.parse(model)), mode, given)
        clicks = [_parse_click(text) for text in click or ()]
        boxes = [] if box is None else [_parse_box(box)]
        decoded = decode_image(picture.read_bytes())
        if not decoded.is_complete:
            _errors.print(f"{picture} {_CUT_OFF}", style="yellow", markup=False)
        pixels = decoded.pixels
        segmenter = load_segmenter(model, options, device=device, dtype=dtype)
        (maps,) = segmenter.score([pixels], [labels])
        cut = segmenter.cut(pixels, maps)
        segmentation = _corrected(cut, pixels, maps, options, clicks, boxes)
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(paint_overlay(pixels, segmentation)).save(out)
    except (
        SegmenterError,
        OSError,
        ValueError,
        # What torch says of a device that becomes too small, or of a model.
        AssertionError,
        RuntimeError,
    ) as error:
        _errors.print(_explain(error, picture, device), style="red", markup=False)
        raise typer.Exit(1) from error
    _console.print(_table(segmentation, options))
    _console.print(f"Overlay: {out}", markup=False, soft_wrap=True)


def _parse_click(text: str) -> Click:
    """Read "120,80" or, with a minus for what is not the object, "-120,80".

    Raises:
        ValueError: if it is neither.
    """
    x, y = _numbers(text.removeprefix("-"), 2, "a click is X,Y or -X,Y, in pixels")
    return Click(y=y, x=x, is_positive=not text.startswith("-"))


def _parse_box(text: str) -> Box:
    """Read "10,20,110,220".

    Raises:
        ValueError: if it is nothing of the kind.
    """
    explanation = "a box is X0,Y0,X1,Y1, in pixels, X0 below X1 and Y0 below Y1"
    left, top, right, bottom = _numbers(text, 4, explanation)
    if left >= right or top >= bottom:
        raise ValueError(f"{text!r} cannot be read: {explanation}.")
    return Box(top=top, left=left, bottom=bottom, right=right)


def _numbers(text: str, count: int, explanation: str) -> list[float]:
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"{text!r} cannot be read: {explanation}.")
    return numbers


def _corrected(
    cut: Segmentation,
    pixels: NDArray[np.uint8],
    maps: ScoreMaps,
    options: SegmenterOptions,
    clicks: Sequence[Click],
    boxes: Sequence[Box],
) -> Segmentation:
    """Correct the first label's mask by clicks and boxes, if there are any."""
    if not clicks and not boxes:
        return cut
    mask = cut.mask(0)
    mask = refine_mask(
        pixels,
        clicks=clicks,
        boxes=boxes,
        start=mask if mask.any() else None,
        maps=maps,
        label=0,
        threshold=options.threshold,
        presence_threshold=options.presence_threshold,
    )
    others = np.where(cut.label_map == 0, np.int16(-1), cut.label_map)
    return replace(
        cut,
        label_map=np.where(mask, np.int16(0), others),
        # Whoever clicks on it says that it is there.
        presence=np.where(np.arange(len(cut.labels)) == 0, 1, cut.presence).astype(
            np.float32
        ),
    )


def _explain(error: Exception, picture: Path, device: str) -> str:
    if isinstance(error, UnusableDevice):
        return _blame_device(device, error.reason)
    if isinstance(error, AssertionError | RuntimeError):
        # The light door does not import torch, which has spoken here.
        from segmenter.weights import first_line, is_device_error

        reason = first_line(error)
        if is_device_error(error):
            return _blame_device(device, reason)
        return f"The model does not work on this picture ({reason})."
    if isinstance(error, PictureError):
        return f"{picture} cannot be read. {error}"
    if isinstance(error, FileNotFoundError) and str(error.filename) == str(picture):
        return f"There is no file {picture}."
    return str(error)


def _blame_device(device: str, reason: str) -> str:
    return (
        f"The model cannot run on device {device!r} ({reason}). Give --device auto, or "
        f"cpu."
    )


def _table(segmentation: Segmentation, options: SegmenterOptions) -> Table:
    table = Table(
        "label", "in the picture", "score", "share of the image", "painted", box=None
    )
    rows = zip(
        segmentation.labels,
        segmentation.presence,
        segmentation.scores,
        segmentation.shares,
        strict=True,
    )
    for index, (label, presence, score, share) in enumerate(rows):
        red, green, blue = label_colour(index)
        table.add_row(
            Text.assemble(
                ("\N{BLACK SQUARE}", f"rgb({red},{green},{blue})"), f" {label}"
            ),
            "-" if options.presence == "off" else f"{presence:.2f}",
            f"{score:.2f}",
            f"{share:.1%}",
            "yes" if presence >= options.presence_threshold and share > 0 else "no",
        )
    return table


def main() -> None:
    """Entry point of `python -m segmenter`."""
    typer.run(segment_picture)

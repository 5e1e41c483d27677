"""The `segment` command: a picture and labels in, an overlay and a table out."""

import logging
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from segmenter import (
    Mode,
    PictureError,
    SegmenterError,
    SegmenterOptions,
    UnusableDevice,
    decode_image,
    load_segmenter,
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
        PictureError,
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
    # None takes the mode's default.
    given: dict[str, Any] = {
        "threshold": threshold,
        "presence": presence,
        "presence_threshold": presence_threshold,
        "boundaries": boundaries,
        "caption": caption,
        "as_published": as_published,
    }
    try:
        options = SegmenterOptions(mode=mode, **given)
        decoded = decode_image(picture.read_bytes())
        if not decoded.is_complete:
            _errors.print(f"{picture} {_CUT_OFF}", style="yellow", markup=False)
        pixels = decoded.pixels
        segmenter = load_segmenter(model, options, device=device, dtype=dtype)
        (segmentation,) = segmenter.segment([pixels], [labels])
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

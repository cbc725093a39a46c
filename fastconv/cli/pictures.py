"""Images from files, as a model wants them: bright on dark, of its size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.data import idx
from fastconv.errors import DataError, DataNotFoundError

BRIGHT = 128
"""A picture whose edge is at least that bright is dark on bright."""


@dataclass(frozen=True)
class Picture:
    """One image for the model.

    Attributes
    ----------
    name : str
        The file, with the image's number if there are several in it.
    image : (C, H, W) uint8
    done : str
        What was done to it, for people.
    """

    name: str
    image: np.ndarray
    done: str


def read(path: str, shape: tuple[int, ...], invert: str, limit: int | None) -> list[Picture]:
    """The images in a picture file or an IDX file.

    Parameters
    ----------
    shape : (C, H, W)
        Of the model's input; C is 1.
    invert : {"auto", "yes", "no"}
        Of pictures alone; "auto" looks at the picture's edge.
    limit : int, optional
        Images to read of an IDX file.

    Raises
    ------
    DataNotFoundError, DataError
        The file is missing, damaged, neither picture nor IDX, or of images that the model cannot take.
    """
    if not Path(path).is_file():
        raise DataNotFoundError(f"{path}: there is no such file")
    with open(path, "rb") as file:
        start = file.read(2)
    if start in (idx.GZIP, b"\0\0"):
        return _from_idx(path, shape, limit)
    return [_from_picture(path, shape, invert)]


def _from_idx(path: str, shape: tuple[int, ...], limit: int | None) -> list[Picture]:
    images = idx.read(path)
    if images.ndim == 2:
        images = images[None]
    if images.ndim != 3 or images.dtype != np.uint8 or images.shape[1:] != shape[1:]:
        height, width = shape[1:]
        raise DataError(
            f"{path}: expected (N, {height}, {width}) of uint8 for this model, got {images.shape} of {images.dtype}"
        )
    return [Picture(f"{path}[{number}]", image[None], "as it is") for number, image in enumerate(images[:limit])]


def _from_picture(path: str, shape: tuple[int, ...], invert: str) -> Picture:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            grey = _grey(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: expected a picture (PNG, JPEG, …) or an IDX file, but it is neither") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: the picture is damaged or too large ({error})") from error
    if inverted := invert == "yes" or (invert == "auto" and edge_brightness(np.asarray(grey)) >= BRIGHT):
        grey = ImageOps.invert(grey)
    height, width = shape[1:]
    fitted = ImageOps.pad(grey, (width, height), method=Image.Resampling.LANCZOS, color=0)
    done = f"{grey.width}x{grey.height} pixels made grey, {'inverted, ' if inverted else ''}fitted into {width}x{height}"
    return Picture(path, np.array(fitted, np.uint8)[None], done)


def _grey(picture: Any) -> Any:
    """One byte a pixel; what is transparent counts as white paper, and 16 bits are brought to 8."""
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, np.float64)
        top = 65535.0 if picture.mode.startswith("I;16") or values.max(initial=0) > 255 else 255.0
        return Image.fromarray(np.clip(np.rint(values * (255 / top)), 0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture).convert("L")
    return picture.convert("L")


def edge_brightness(grey: np.ndarray) -> float:
    """The median of the outermost pixels of (H, W)."""
    return float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))

"""What the command line reads: pictures, IDX files, and convolutions written as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastconv import shapes
from fastconv.cli import pictures
from fastconv.dispatch import Conv
from fastconv.errors import ArgumentError, DataError

# --- pictures


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I", "I;16", "F", "CMYK"])
def test_pictures_of_every_mode(tmp_path: Path, mode: str) -> None:
    grey = np.zeros((10, 10), np.uint8)
    grey[3:7, 3:7] = 255
    path = tmp_path / f"picture.{'tiff' if mode in ('F', 'I', 'CMYK') else 'png'}"
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(grey).convert(mode).save(path)
    (picture,) = pictures.read(str(path), (1, 10, 10), "auto", None)
    assert picture.image.shape == (1, 10, 10)
    assert picture.image.dtype == np.uint8
    np.testing.assert_array_equal(picture.image[0], grey)


def test_transparency_is_paper(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[2:6, 3:5] = (0, 0, 0, 255)  # black ink on nothing
    path = tmp_path / "ink.png"
    Image.fromarray(picture).save(path)
    (got,) = pictures.read(str(path), (1, 8, 8), "auto", None)
    np.testing.assert_array_equal(got.image[0], picture[..., 3])
    assert "inverted" in got.done


@pytest.mark.parametrize(("invert", "expected"), [("yes", 0), ("no", 255), ("auto", 0)])
def test_inverting(tmp_path: Path, invert: str, expected: int) -> None:
    path = tmp_path / "white.png"
    Image.new("L", (4, 4), 255).save(path)
    (got,) = pictures.read(str(path), (1, 4, 4), invert, None)
    assert got.image.max() == got.image.min() == expected


def test_proportions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("L", (40, 10), 100).save(path)
    (got,) = pictures.read(str(path), (1, 8, 8), "no", None)
    assert (got.image[0, 3:5] == 100).all()
    assert (got.image[0, :3] == 0).all()
    assert (got.image[0, 5:] == 0).all()


def test_one_idx_image(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4]))
    (got,) = pictures.read(str(path), (1, 2, 2), "auto", None)
    assert got.image.tolist() == [[[1, 2], [3, 4]]]
    with pytest.raises(DataError, match=r"expected \(N, 3, 3\) of uint8"):
        pictures.read(str(path), (1, 3, 3), "auto", None)


# --- shapes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n64 c32 28x28 k64 3x3", Conv(64, 32, 28, 28, 64, 3, 3)),
        ("c1 k2 9x8 3x2 s2 d1x2 p1x0", Conv(1, 1, 9, 8, 2, 3, 2, (2, 2), ((1, 1), (0, 0)), (1, 2))),
        ("N1, C4, 6X6, K4, 3X3, G2, PSAME", Conv(1, 4, 6, 6, 4, 3, 3, padding=((1, 1), (1, 1)), groups=2)),
        ("c1 k1 5x5 1x1 pvalid float64 nhwc", Conv(1, 1, 5, 5, 1, 1, 1, dtype="float64", layout="NHWC")),
    ],
)
def test_shapes(text: str, expected: Conv) -> None:
    assert shapes.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected c, k, image HxW, kernel RxS"),
        ("c1 k1 5x5", "expected kernel RxS"),
        ("c1 k1 5x5 3x3 2x2", "expected no third HxW"),
        ("c1 k1 5x5 3x3 q7", "got 'q7'"),
        ("c1x2 k1 5x5 3x3", "got 'c1x2'"),
        ("c1 k1 5 5x5 3x3", "got '5'"),
        ("c1 k1 5x5 7x7", "a window of 7 pixels does not fit"),
        ("c1 k1 5x5 3x3 s0", "stride"),
        ("c1 k1 5x5 3x3 s0 psame", "SHAPE: "),
        ("c3 k4 5x5 3x3 g2", "groups"),
        ("c3 k4 5x5 3x3 g0", "groups"),
    ],
)
def test_bad_shapes(text: str, expected: str) -> None:
    with pytest.raises(ArgumentError, match=r"^SHAPE: ") as caught:
        shapes.parse(text)
    assert expected in str(caught.value)

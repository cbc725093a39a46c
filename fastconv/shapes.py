"""Convolutions written as text: "n64 c32 28x28 k64 3x3 p1 s1"."""

from __future__ import annotations

import re
from typing import Any

from fastconv.dispatch import Conv, padding_pairs
from fastconv.errors import ArgumentError

EXAMPLE = '"n64 c32 28x28 k64 3x3 p1 s1"'
WORD = re.compile(r"(?P<letter>[ncksdpg]?)(?P<first>\d+)(?:x(?P<second>\d+))?")
SIDES = re.compile(r"p(\d+)\+(\d+)x(\d+)\+(\d+)")
SINGLE, PAIRS = "nckg", "sdp"


def parse(text: str) -> Conv:
    """The convolution that ``text`` describes, in words in any order.

    Parameters
    ----------
    text : str
        n images, c channels, k kernels, HxW of the image, then RxS of the kernels; s stride, p padding ("psame" too) and
        d dilation, one number or two with an x; p0+1x2+3 for top and bottom, left and right; g groups; "float64"; "nhwc".
        What is left out is 1, padding 0.

    Raises
    ------
    ArgumentError
        A word is none of these, one is missing, or the numbers make no convolution.
    """
    numbers: dict[str, Any] = {"n": 1, "k": None, "c": None, "g": 1, "s": (1, 1), "d": (1, 1), "p": (0, 0)}
    sizes: list[tuple[int, int]] = []
    dtype, layout = "float32", "NCHW"
    for word in text.lower().replace(",", " ").split():
        if word in ("psame", "pvalid"):
            numbers["p"] = word[1:]
        elif sides := SIDES.fullmatch(word):
            top, bottom, left, right = map(int, sides.groups())
            numbers["p"] = (top, bottom), (left, right)
        elif word in ("float32", "float64"):
            dtype = word
        elif word in ("nchw", "nhwc"):
            layout = word.upper()
        elif (match := WORD.fullmatch(word)) is None or not _take(match, numbers, sizes):
            raise ArgumentError(f"SHAPE: expected words as in {EXAMPLE}, got {word!r}")
    lacking = [what for what, found in (("c", numbers["c"]), ("k", numbers["k"])) if found is None]
    if lacking or len(sizes) != 2:
        missing = ", ".join([*lacking, *("image HxW", "kernel RxS")[len(sizes) :]]) or "no third HxW"
        raise ArgumentError(f"SHAPE: expected {missing} in {text!r}, as in {EXAMPLE}")
    image, kernel = sizes
    try:
        padding = padding_pairs(numbers["p"], kernel, numbers["s"], numbers["d"], image)
        return Conv(
            numbers["n"],
            numbers["c"],
            *image,
            numbers["k"],
            *kernel,
            stride=numbers["s"],
            padding=padding,
            dilation=numbers["d"],
            groups=numbers["g"],
            dtype=dtype,
            layout=layout,
        )
    except (ValueError, ZeroDivisionError) as error:
        raise ArgumentError(f"SHAPE: {error}") from error


def written(problem: Conv) -> str:
    """The text that ``parse`` reads as ``problem``."""
    words = [f"n{problem.N} c{problem.C} {problem.H}x{problem.W} k{problem.K} {problem.R}x{problem.S}"]
    (top, bottom), (left, right) = problem.padding
    padding = (top, left) if (top, left) == (bottom, right) else None
    for letter, pair, usual in (("s", problem.stride, 1), ("p", padding, 0), ("d", problem.dilation, 1)):
        if pair is not None and pair != (usual, usual):
            words.append(f"{letter}{pair[0]}" if pair[0] == pair[1] else f"{letter}{pair[0]}x{pair[1]}")
    if padding is None:
        words.append(f"p{top}+{bottom}x{left}+{right}")
    if problem.groups > 1:
        words.append(f"g{problem.groups}")
    words += [problem.dtype] if problem.dtype != "float32" else []
    words += ["nhwc"] if problem.layout == "NHWC" else []
    return " ".join(words)


def _take(match: re.Match[str], numbers: dict[str, Any], sizes: list[tuple[int, int]]) -> bool:
    """Put one word where it belongs; False: it belongs nowhere."""
    letter, first, second = match["letter"], int(match["first"]), match["second"]
    if letter == "":
        if second is None:
            return False
        sizes.append((first, int(second)))
    elif letter in SINGLE:
        if second is not None:
            return False
        numbers[letter] = first
    else:
        numbers[letter] = (first, first if second is None else int(second))
    return True

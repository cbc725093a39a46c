"""A convolution whose window is dilated as one of more images whose window is not: the phases of the pixels."""

from dataclasses import replace

import numpy as np

FEW_SETS_BYTES, FEW_SETS = 4096, 1.2
"""Pixels a multiple of so many bytes apart are in few sets of a cache; times what Winograd's phases of them take.

On a Granite Rapids the gradient of the weight of 28x28 pixels, dilated by 6, took 18.8 ms with 960 and 256 channels and 23.0
with 1024, where implicit matrix products took 23.5 and 21.3.
"""


def dearer(problem, direction):
    """Times what the phases of ``problem`` take because of the distance of the pixels that are read."""
    channels = problem.K if direction == "backward_input" else problem.C
    return FEW_SETS if channels * np.dtype(problem.dtype).itemsize % FEW_SETS_BYTES == 0 else 1


def as_images(problem):
    """The convolution of all phases of ``problem`` as images, the window not dilated.

    With a stride there is none; what is then returned is of a similar size, for the cost model that is asked all the same.
    """
    gaps, kernel = problem.dilation, (problem.R, problem.S)
    source, target = ([-(-size // gap) for size, gap in zip(sizes, gaps, strict=True)] for sizes in sizes_of(problem))
    before = [pad // gap for (pad, _), gap in zip(problem.padding, gaps, strict=True)]
    padding = tuple(
        (pad, max(0, outputs + taps - 1 - inputs - pad))
        for pad, outputs, taps, inputs in zip(before, target, kernel, source, strict=True)
    )
    images = problem.N * gaps[0] * gaps[1]
    return replace(problem, N=images, H=source[0], W=source[1], padding=padding, dilation=(1, 1))


def sizes_of(problem):
    """(rows, columns) of the input and of the output."""
    return (problem.H, problem.W), (problem.P, problem.Q)

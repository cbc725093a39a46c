"""Tables that leave out all taps in the padding: of windows that are dilated so far that many of them are there.

Pixels of a whole image that meet the same taps are taken together: of 28x28 under a 3x3 window that is dilated by 12 those of
nine rectangles, in which 4, 6 or 9 taps lie in the image, half of all.  The image is read where it is; there is no frame.
"""

from itertools import product

import numpy as np

from .geometry import SPARE, Bands, Tables, forward_axes, integer, runs_alike

WORTH = 0.8
"""Of all products; as few are worth it."""


def share_inside(vertical, horizontal):
    """Of the products where all pixels meet all taps, those that exist; the axes have one phase."""
    met, every = 1, 1
    for axis in (vertical, horizontal):
        met *= sum((to - from_) * (last - first) for from_, to, first, last in runs_alike(axis, 0, axis.target))
        every *= axis.target * len(axis.taps[0])
    return met / every


def inside(problem, vertical, horizontal):
    """Whether the tables of a direction, with these axes, are those of ``tables_inside``.

    On a Granite Rapids 28x28 pixels with 2048 and 256 channels, dilated by 6, 12 and 18, took 32, 23 and 17 ms so, where all
    products took 52 to 63 and Winograd's phases 34, 34 and 53; in the gradient of the input 32, 22 and 15, not 44 to 47.
    """
    if problem.dilation == (1, 1) or problem.groups > 1 or vertical.step * horizontal.step > 1:
        return False
    return share_inside(vertical, horizontal) <= WORTH


def computed(problem, direction):
    """The share of all products that ``implicit_gemm`` computes: for the weight it leaves out what lies in the padding."""
    axes = forward_axes(problem)
    leaves = direction == "backward_weight" or (problem.stride == (1, 1) and inside(problem, *axes))
    return share_inside(*axes) if leaves else 1.0


def tables_inside(vertical, horizontal, source_channels, target_channels, planes):
    """``Bands`` and ``Tables``: an image is one band, which is brought to channels last if it has ``planes``."""
    sources, targets, classes, segments = [], [], [], []
    first_pixel, across = 0, len(horizontal.taps[0])
    for down, along in product(*(runs_alike(axis, 0, axis.target) for axis in (vertical, horizontal))):
        y, x = (axis.ravel() for axis in np.mgrid[down[0] : down[1], along[0] : along[1]])
        first_segment = len(segments)
        sources.append((y * vertical.advance * horizontal.source + x * horizontal.advance) * source_channels)
        targets.append((y * horizontal.target + x) * target_channels)
        for r, s in product(range(*down[2:]), range(*along[2:])):
            reach = vertical.taps[0][r][1] * horizontal.source + horizontal.taps[0][s][1]
            segments.append((reach * source_channels, source_channels, (r * across + s) * source_channels))
        classes.append((first_pixel, first_pixel + len(y), first_segment, len(segments)))
        first_pixel += len(y)
    taps = integer([(r, s) for (r, _), (s, _) in product(vertical.taps[0], horizontal.taps[0])], 2)
    phases = [(0, horizontal.target, 0, 1, 0, len(taps) * source_channels, 0, 1, 0, len(classes))]
    slices, segments = integer([(0, len(segments))], 2), integer([*segments, (0, 0, 0)], 3)
    sources, targets = (np.concatenate([*table, np.zeros(SPARE, np.intp)]) for table in (sources, targets))
    bands = Bands(1, vertical.target, 0, 0, 0, vertical.source if planes else 0, horizontal.source, planes)
    return bands, Tables(integer(phases, 10), integer(classes, 4), sources, targets, slices, segments, [taps])

"""Bands and tables of a convolution whose pixels are taken window by window of the pooling that follows."""

from typing import NamedTuple

import numpy as np

from ..problems.pooled import WINDOW
from .geometry import SPARE, Bands, bands_of, forward_axes, tables_of


class PooledTables(NamedTuple):
    """What the kernels read, offsets in elements.

    bands : how images are cut, into even numbers of rows
    sources : (pixels and spare,) offset of each pixel of a band in the frame, the four of a window one after another
    elements : (depth and spare,) offset of each element (r, s, c) of a window of the convolution
    taps : (taps, 2) r, s in their order
    """

    bands: Bands
    sources: np.ndarray
    elements: np.ndarray
    taps: np.ndarray


def pooled_tables(problem):
    """The tables of a ``ConvPool``; what an odd last row or column would need is in no band."""
    conv = problem.conv
    vertical, horizontal = (
        axis._replace(target=WINDOW * outputs)
        for axis, outputs in zip(forward_axes(conv), (problem.P, problem.Q), strict=True)
    )
    bands = bands_of(vertical, horizontal, unit=WINDOW)
    tables = tables_of(vertical, horizontal, bands, conv.C, conv.K, conv.groups, conv.depth)
    in_rows = tables.sources[:-SPARE].reshape(bands.rows // WINDOW, WINDOW, problem.Q, WINDOW)
    beyond = np.zeros(SPARE, np.intp)  # the last tile reads on behind the last pixel, or the last element
    sources = np.concatenate([in_rows.swapaxes(1, 2).ravel(), beyond])
    runs = [np.arange(offset, offset + length) for offset, length, _ in tables.segments]
    return PooledTables(bands, sources, np.concatenate([*runs, beyond]), tables.taps[0])

"""Where windows lie, for a thread of the GPU: from its number to an output or a pixel, from that to pixels or windows.

Everything is an integer of 32 bits.  Windows without dilation are found without a division, since a dilation of 1 is known
when the kernel is compiled.
"""

from functools import cache
from typing import NamedTuple

from numba import float32

from ..cuda.build import device
from ..cuda.integers import divide
from . import window

counted, inside = device(window.counted), device(window.inside)


class Windows(NamedTuple):
    """The geometry: ``size`` threads' work, of images of ``step`` channels; padding that a mean counts ends at ``end_*``."""

    size: int
    groups: int
    step: int
    H: int
    W: int
    P: int
    Q: int
    R: int
    S: int
    stride_h: int
    stride_w: int
    top: int
    left: int
    dilation_h: int
    dilation_w: int
    end_h: int
    end_w: int
    divisor: int


class Kind(NamedTuple):
    """What a kernel is compiled for, 1 or 0 each, and how many channels a thread has."""

    width: int
    adaptive: int
    dilated: int
    counts_padding: int
    positions: int


@device
def place_of(quotient, i, groups, rows, columns, width):
    """(image, row, column, first channel) of work item ``i``; ``quotient`` is a register."""
    divide(quotient, i, groups)
    pixel = quotient[0]
    channel = (i - pixel * groups) * width
    divide(quotient, pixel, columns)
    row = quotient[0]
    column = pixel - row * columns
    divide(quotient, row, rows)
    return quotient[0], row - quotient[0] * rows, column, channel


@cache
def finders(kind):
    """The functions output → its window, and pixel → its windows, along one axis."""

    @device
    def taps(quotient, output, outputs, size, stride, before, dilation, length):
        """(first pixel, how many) of the window inside the image."""
        if kind.adaptive:
            divide(quotient, output * length, outputs)
            first = quotient[0]
            divide(quotient, (output + 1) * length + outputs - 1, outputs)
            return first, quotient[0] - first
        elif kind.dilated:  # noqa: RET505 - only one of them is compiled
            return inside(output, size, stride, before, dilation, length)
        else:
            return inside(output, size, stride, before, 1, length)

    @device
    def covering(quotient, pixel, outputs, size, stride, before, dilation, length):
        """(first, behind the last) of the windows that may cover the pixel; with dilation not all of them do."""
        if kind.adaptive:
            divide(quotient, pixel * outputs, length)
            first = quotient[0]
            divide(quotient, (pixel + 1) * outputs + length - 1, length)
            return first, quotient[0]
        else:  # noqa: RET505
            divide(quotient, max(0, pixel + before - (size - 1) * dilation + stride - 1), stride)
            first = quotient[0]
            divide(quotient, pixel + before, stride)
            return first, min(outputs, quotient[0] + 1)

    @device
    def covers(quotient, output, pixel, stride, before, dilation):
        """Whether a tap of the window is at the pixel."""
        if kind.dilated:
            distance = pixel + before - output * stride
            divide(quotient, distance, dilation)
            return quotient[0] * dilation == distance
        else:  # noqa: RET505
            return True

    @device
    def area(output, size, stride, before, dilation, end, number):
        """Of the window along one axis, ``number`` of whose taps are inside the image."""
        if kind.counts_padding and kind.dilated:
            return counted(output, size, stride, before, dilation, end)
        elif kind.counts_padding:  # noqa: RET505
            return counted(output, size, stride, before, 1, end)
        else:
            return number

    return taps, covering, covers, area


@device
def divisor_of(down, across, given):
    """What the sum of a window of ``down`` x ``across`` taps is divided by: 1 if it has none."""
    if down <= 0 or across <= 0:
        return float32(1)
    return float32(given if given != 0 else down * across)

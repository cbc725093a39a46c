"""Pooling, written once: plain Python for one step of one window, compiled for every target that has no tricks of its own.

A window of ``taps`` pixels along an axis begins at ``output * stride - padding``; its pixels are ``dilation`` apart.
"""


def inside(output, taps, stride, padding, dilation, length):
    """(first pixel, how many) of the window's taps that lie in range(length)."""
    begin = output * stride - padding
    skipped = max(0, -(begin // dilation))
    first = begin + skipped * dilation
    return first, max(0, min(taps - skipped, (length - 1 - first) // dilation + 1))


def counted(output, taps, stride, padding, dilation, end):
    """How many of the window's taps, its padding included, lie before ``end``: where the lower padding ends."""
    return min(taps, (end - 1 - (output * stride - padding)) // dilation + 1)


def larger(best, place, value, there):
    """The maximum so far and where it is: the first of equals, the last NaN before everything, as torch has it."""
    wins = (value > best) | (value != value)
    return (value if wins else best), (there if wins else place)


def received(gradient, place, here):
    """What a pixel ``here`` gets of the gradient of a maximum that was found at ``place``."""
    return gradient if place == here else type(gradient)(0)

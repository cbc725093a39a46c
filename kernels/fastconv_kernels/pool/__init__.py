"""Pooling: the ranked tables of both directions, best first, the reference last.

How the plans are called, with arrays that are C-contiguous, of the problem's dtype and in the problem's layout:

forward         ``plan(x, out, indices=None)``; ``indices``, of a maximum only, has out's shape, int32 or int64: where in its
                image plane each maximum is, h * W + w
backward_input  ``plan(grad_output, indices, out)`` of a maximum, ``plan(grad_output, out)`` of an average, out of x's shape
"""

from __future__ import annotations

from ..registry import Kernel
from . import reference, windows_cpu

_REFERENCE = "Every tap of the window a strided view of the padded image."

FORWARD = [
    Kernel(
        "pool",
        "forward",
        "windows",
        "cpu",
        windows_cpu.Forward,
        summary="Each output folds its window, lanes over channels or columns.",
    ),
    Kernel("pool", "forward", "reference", "numpy", reference.Forward, summary=_REFERENCE),
]

BACKWARD_INPUT = [
    Kernel(
        "pool",
        "backward_input",
        "windows",
        "cpu",
        windows_cpu.BackwardInput,
        summary="Each pixel gathers from the windows that cover it, in their order.",
    ),
    Kernel("pool", "backward_input", "reference", "numpy", reference.BackwardInput, summary=_REFERENCE),
]

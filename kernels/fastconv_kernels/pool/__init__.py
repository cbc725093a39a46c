"""Pooling: the ranked tables of both directions, best first, the reference last.

How the plans are called, with arrays that are C-contiguous, of the problem's dtype and in the problem's layout:

forward         ``plan(x, out, indices=None)``; ``indices``, of a maximum only, has out's shape, int32 or int64: where in its
                image plane each maximum is, h * W + w
backward_input  ``plan(grad_output, indices, out)`` of a maximum, ``plan(grad_output, out)`` of an average, out of x's shape
"""

from __future__ import annotations

from ..registry import Kernel, deferred, single_precision
from . import channels_cpu, disjoint_cpu, planes_cpu, reference, rows_cpu, windows_cpu

_REFERENCE = "Every tap of the window a strided view of the padded image."


def _on_cuda(direction: str, plan: str, summary: str) -> Kernel:
    made = deferred("pool.windows_cuda", plan)
    return Kernel("pool", direction, "windows", "cuda", made, refuses=single_precision, summary=summary)


FORWARD = [
    Kernel(
        "pool",
        "forward",
        "channels",
        "cpu",
        channels_cpu.Forward,
        channels_cpu.refuses,
        summary="NHWC: a window is folded in vector registers, lanes over channels.",
    ),
    Kernel(
        "pool",
        "forward",
        "planes",
        "cpu",
        planes_cpu.Forward,
        planes_cpu.refuses,
        summary="NCHW, the mean of whole planes: each is summed as it lies in memory.",
    ),
    Kernel(
        "pool",
        "forward",
        "rows",
        "cpu",
        rows_cpu.Forward,
        rows_cpu.refuses,
        summary="NCHW: a strip of windows is folded in vector registers, lanes over columns.",
    ),
    Kernel(
        "pool",
        "forward",
        "windows",
        "cpu",
        windows_cpu.Forward,
        windows_cpu.refuses,
        summary="Each output folds its window, lanes over channels or columns.",
    ),
    _on_cuda("forward", "Forward", "A thread for each output, four channels of it in NHWC."),
    Kernel("pool", "forward", "reference", "numpy", reference.Forward, summary=_REFERENCE),
]

BACKWARD_INPUT = [
    Kernel(
        "pool",
        "backward_input",
        "channels",
        "cpu",
        channels_cpu.BackwardInput,
        channels_cpu.refuses_backward,
        summary="NHWC: each pixel gathers its maxima in vector registers, lanes over channels.",
    ),
    Kernel(
        "pool",
        "backward_input",
        "planes",
        "cpu",
        planes_cpu.BackwardInput,
        planes_cpu.refuses,
        summary="NCHW, the mean of whole planes: each is filled with its share.",
    ),
    Kernel(
        "pool",
        "backward_input",
        "rows",
        "cpu",
        rows_cpu.BackwardInput,
        rows_cpu.refuses_backward,
        summary="NCHW: plane by plane, each gradient added at its position.",
    ),
    Kernel(
        "pool",
        "backward_input",
        "disjoint",
        "cpu",
        disjoint_cpu.BackwardInput,
        disjoint_cpu.refuses,
        disjoint_cpu.declines,
        summary="The mean of windows that do not overlap: rows of pixels are rows of shares, in an order that a table has.",
    ),
    Kernel(
        "pool",
        "backward_input",
        "windows",
        "cpu",
        windows_cpu.BackwardInput,
        windows_cpu.refuses,
        summary="Each pixel gathers from the windows that cover it, in their order.",
    ),
    _on_cuda("backward_input", "BackwardInput", "A thread for each pixel gathers from the windows that cover it."),
    Kernel("pool", "backward_input", "reference", "numpy", reference.BackwardInput, summary=_REFERENCE),
]

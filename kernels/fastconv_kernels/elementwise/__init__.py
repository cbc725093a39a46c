"""Activations and maxout: the ranked tables, best first, the reference last.  Arrays may have any shape of the problem's size.

forward, backward_input                ``plan(x, out)``, ``plan(grad_output, x, y, out)`` with y = function(x); ``out`` may be
                                       one of the inputs
maxout: forward, backward_input        ``plan(x, out)``, ``plan(grad_output, x, out)``
"""

from __future__ import annotations

from ..registry import Kernel, deferred, single_precision
from . import loop_cpu, maxout_cpu, reference

_LOOP, _REFERENCE = "One vectorised pass.", "The definition on whole arrays."
_MAXOUT = "Goodfellow et al., Maxout Networks, 2013"


def _on_cuda(direction: str, plan: str) -> Kernel:
    made = deferred("elementwise.stream_cuda", plan)
    summary = "One pass, 16 bytes of each array at a time."
    return Kernel("elementwise", direction, "stream", "cuda", made, refuses=single_precision, summary=summary)


FORWARD = [
    Kernel("elementwise", "forward", "loop", "cpu", loop_cpu.Forward, summary=_LOOP),
    _on_cuda("forward", "Forward"),
    Kernel("elementwise", "forward", "reference", "numpy", reference.Forward, summary=_REFERENCE),
]

BACKWARD_INPUT = [
    Kernel("elementwise", "backward_input", "loop", "cpu", loop_cpu.BackwardInput, summary=_LOOP),
    _on_cuda("backward_input", "BackwardInput"),
    Kernel("elementwise", "backward_input", "reference", "numpy", reference.BackwardInput, summary=_REFERENCE),
]


def _maxout_on_cuda(direction: str, plan: str) -> Kernel:
    made, summary = deferred("elementwise.maxout_cuda", plan), "A thread for each result."
    return Kernel("maxout", direction, "loop", "cuda", made, refuses=single_precision, summary=summary, source=_MAXOUT)


MAXOUT_FORWARD = [
    Kernel("maxout", "forward", "loop", "cpu", maxout_cpu.MaxoutForward, summary=_LOOP, source=_MAXOUT),
    _maxout_on_cuda("forward", "MaxoutForward"),
    Kernel("maxout", "forward", "reference", "numpy", reference.MaxoutForward, summary=_REFERENCE, source=_MAXOUT),
]

MAXOUT_BACKWARD_INPUT = [
    Kernel("maxout", "backward_input", "loop", "cpu", maxout_cpu.MaxoutBackwardInput, summary=_LOOP, source=_MAXOUT),
    _maxout_on_cuda("backward_input", "MaxoutBackwardInput"),
    Kernel(
        "maxout", "backward_input", "reference", "numpy", reference.MaxoutBackwardInput, summary=_REFERENCE, source=_MAXOUT
    ),
]

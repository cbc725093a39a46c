"""Dropout: the ranked table, best first, the reference last.

``plan(x, out, key, step)``: ``key`` is two integers of 32 bits, ``step`` an int64 array (1,); ``out`` may be ``x``.  The
same elements are dropped for the same key and step, wherever and with however many threads: so computes the gradient, too.
"""

from __future__ import annotations

from ..registry import Kernel, deferred, single_precision
from . import philox_cpu, reference

_SOURCE = "Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014"
_IDEA = "Random numbers that are functions of element, step and key, computed where they are used and never stored."

FORWARD = [
    Kernel("dropout", "forward", "philox", "cpu", philox_cpu.Dropout, summary=_IDEA, source=_SOURCE),
    Kernel(
        "dropout",
        "forward",
        "philox",
        "cuda",
        deferred("dropout.philox_cuda", "Dropout"),
        refuses=single_precision,
        summary=_IDEA,
        source=_SOURCE,
    ),
    Kernel(
        "dropout", "forward", "reference", "numpy", reference.Dropout, summary="The generator on whole arrays.", source=_SOURCE
    ),
]

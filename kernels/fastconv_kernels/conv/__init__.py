"""Convolution: the ranked tables of its three directions, best first, the reference last.

How the plans are called, with arrays that are C-contiguous, of the problem's dtype and in the problem's layout:

forward         ``packed = plan.pack(weight, packed=None)``, then ``plan(x, packed, out, bias=None, residual=None, activation=None)``
                writes activation(conv + bias + residual); bias (K,), residual of out's shape, activation None or "relu"
backward_input  ``packed = plan.pack(weight, packed=None)``, then ``plan(grad_output, packed, out)``, out of x's shape
backward_weight ``plan(grad_output, x, out)``, out of the weight's shape

``weight`` may have any strides.  ``packed`` is the plan's own form of it, written anew into the array that is given back to it.
"""

from __future__ import annotations

from ..registry import Kernel
from . import reference

_SUMMARY = "a matrix product for each tap of the window"

FORWARD = [
    Kernel("conv", "forward", "reference", "numpy", reference.Forward, summary=_SUMMARY),
]

BACKWARD_INPUT = [
    Kernel("conv", "backward_input", "reference", "numpy", reference.BackwardInput, summary=_SUMMARY),
]

BACKWARD_WEIGHT = [
    Kernel("conv", "backward_weight", "reference", "numpy", reference.BackwardWeight, summary=_SUMMARY),
]

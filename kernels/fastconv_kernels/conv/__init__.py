"""Convolution: the tables of its three directions; of the kernels that can, the one that predicts the least time is taken.

How the plans are called, with arrays that are C-contiguous, of the problem's dtype and in the problem's layout:

forward         ``packed = plan.pack(weight, packed=None)``, then
                ``plan(x, packed, out, bias=None, residual=None, activation=None)``
                writes activation(conv + bias + residual); bias (K,), residual of out's shape, activation None or "relu"
backward_input  ``packed = plan.pack(weight, packed=None)``, then ``plan(grad_output, packed, out)``, out of x's shape
backward_weight ``plan(grad_output, x, out)``, out of the weight's shape

The operator ``conv_pool`` is a convolution whose output is seen by ReLU and 2 x 2 max pooling alone; ``positions``, uint8,
says for each maximum where in its window it was, 0 … 3 row by row (the first of equals, NaN before everything), or 4 where
ReLU set it to zero:

forward            ``plan(x, packed, out, positions=None, bias=None)``
backward_epilogue  ``plan(grad, positions, grad_conv, grad_bias=None)``: the gradients of the convolution's output and bias
backward_weight    ``plan(grad, positions, x, out, grad_bias=None)``: the gradients of weight and bias
backward_input     ``packed = plan.pack(weight, packed=None)``, then ``plan(grad, positions, packed, out)``, out of x's shape

``weight`` may have any strides.  ``packed`` is the plan's own form of it, written anew into an array
that is given back to it.
"""

from __future__ import annotations

from ..registry import Kernel
from . import for_cpu, for_cuda, reference
from .with_pooling import (
    CONV_POOL_BACKWARD_EPILOGUE,
    CONV_POOL_BACKWARD_INPUT,
    CONV_POOL_BACKWARD_WEIGHT,
    CONV_POOL_FORWARD,
)

__all__ = [
    "BACKWARD_INPUT",
    "BACKWARD_WEIGHT",
    "CONV_POOL_BACKWARD_EPILOGUE",
    "CONV_POOL_BACKWARD_INPUT",
    "CONV_POOL_BACKWARD_WEIGHT",
    "CONV_POOL_FORWARD",
    "FORWARD",
]

FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT = (
    [
        *on_cpu,
        *on_cuda,
        Kernel(
            "conv",
            direction,
            "reference",
            "numpy",
            plan,
            summary="A matrix product for each tap of the window: the truth that the others are tested against.",
        ),
    ]
    for direction, on_cpu, on_cuda, plan in (
        ("forward", for_cpu.FORWARD, for_cuda.FORWARD, reference.Forward),
        ("backward_input", for_cpu.BACKWARD_INPUT, for_cuda.BACKWARD_INPUT, reference.BackwardInput),
        ("backward_weight", for_cpu.BACKWARD_WEIGHT, for_cuda.BACKWARD_WEIGHT, reference.BackwardWeight),
    )
)

"""The public calls: check the arguments, state the problem, choose a kernel, launch its plan."""

from __future__ import annotations

from .conv import conv1d, conv2d, conv2d_backward_input, conv2d_backward_weight, conv_transpose2d
from .matmul import linear, matmul
from .plans import ConvPlan, PackedWeight, plan_conv2d

__all__ = [
    "ConvPlan",
    "PackedWeight",
    "conv1d",
    "conv2d",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv_transpose2d",
    "linear",
    "matmul",
    "plan_conv2d",
]

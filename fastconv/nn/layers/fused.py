"""The gradients of a ReLU and of a bias that a convolution or a matrix product has computed along with its output."""

from __future__ import annotations

from math import prod

from fastconv import dispatch

from ..parameters import Array
from ..planning import Planning


class ReluMask:
    """Sets a gradient to zero, in place, wherever ``out`` = max(0, …) is zero: one pass, nothing saved but ``out``."""

    def __init__(self, out: Array, planning: Planning) -> None:
        self._out = out
        self._backward = planning.plan("elementwise", "backward_input", dispatch.Elementwise("relu", out.size, planning.dtype))

    def __call__(self, grad: Array) -> None:
        self._backward(grad, self._out, self._out, grad)


class BiasGradient:
    """Sums a gradient (…, channels) over all but its channels into the gradient of the layer's bias."""

    def __init__(self, out: Array, planning: Planning) -> None:
        self._rows = prod(out.shape[:-1]), out.shape[-1]
        rows = dispatch.Rows(rows=self._rows[0], columns=self._rows[1], dtype=planning.dtype)
        self._sum = planning.plan("channel_sum", "forward", rows)
        self._gradient = planning.gradient("bias")

    def __call__(self, grad: Array) -> None:
        self._sum(grad.reshape(self._rows), self._gradient)

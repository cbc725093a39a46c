"""A convolution and the max pooling that follows it, as one layer of a plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastconv import dispatch

from ..parameters import Array
from ..planning import Planning
from .base import Layer, Shape, Stage
from .convolution import Conv2D, ConvolutionStage, InputGradient, WeightGradient
from .pooling import MaxPool2D, MaxPoolStage


@dataclass(frozen=True)
class ConvPool2D(Layer):
    """What ``fusion`` makes of the two; it has the convolution's name, parameters and shapes are theirs."""

    convolution: Conv2D
    pooling: MaxPool2D

    @property
    def _in_registers(self) -> bool:
        """Whether the pooling is of the kind that kernels compute before they store: 2 x 2 windows, 2 apart, of a ReLU."""
        pool = self.pooling
        return self.convolution.activation == "relu" and (pool.pool_size, pool.strides, pool.padding) == (
            (2, 2),
            (2, 2),
            "valid",
        )

    def output_shape(self, shape: Shape) -> Shape:
        return self.pooling.output_shape(self.convolution.output_shape(shape))

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        if self._in_registers:
            problem = dispatch.ConvPool(self.convolution.problem(shape, planning.batch, planning.dtype))
            if planning.engine.computes("conv_pool", "forward", problem):
                return [ConvPoolStage(problem, planning, self.convolution.use_bias)]
        made = self.convolution.stages(shape, planning)
        pooled = self.pooling.stages(self.convolution.output_shape(shape), planning.following("pool"))
        if planning.training and isinstance(made[-1], ConvolutionStage) and isinstance(pooled[0], MaxPoolStage):
            pooled[0].take_over(made[-1], planning)
        return [*made, *pooled]


class ConvPoolStage(Stage):
    """Only the pooled output is written, with the place of each maximum in a byte.

    Backward finds both gradients from that of the pooled output where there are kernels that do.  Others are given it spread
    over the full one.
    """

    def __init__(self, problem: dispatch.ConvPool, planning: Planning, use_bias: bool) -> None:
        self._weight, self._bias = planning.value("weight"), planning.value("bias") if use_bias else None
        self._forward = planning.plan("conv_pool", "forward", problem)
        self._packed = self._forward.pack(self._weight)
        self._out = planning.buffer("out", problem.out_shape[1:])
        self._positions = None
        if planning.training:
            self._positions = planning.buffer("positions", problem.out_shape[1:], np.uint8)
            self._plan_backward(problem, planning)

    def _plan_backward(self, problem: dispatch.ConvPool, planning: Planning) -> None:
        self._grad_weight = planning.gradient("weight")
        self._grad_bias = None if self._bias is None else planning.gradient("bias")
        self._pooled_weight = self._pooled_input = self._spread = self._full_weight = self._full_input = None
        if planning.engine.offers("conv_pool", "backward_weight", problem):
            self._pooled_weight = planning.plan("conv_pool", "backward_weight", problem)
        else:
            self._full_weight = WeightGradient(problem.conv, planning)
        if planning.input_gradient and planning.engine.offers("conv_pool", "backward_input", problem):
            self._pooled_input = planning.plan("conv_pool", "backward_input", problem)
            self._packed_back = self._pooled_input.pack(self._weight)
            self._grad_x = planning.passed(problem.conv.x_shape[1:])
        elif planning.input_gradient:
            self._full_input = InputGradient(problem.conv, planning)
        if self._full_weight is not None or self._full_input is not None:
            self._spread = planning.plan("conv_pool", "backward_epilogue", problem)
            # All layers' own: it is used up before the next one's is written.
            self._full = planning.memory.take("gradient.full", problem.conv.out_shape, planning.dtype)

    def prepare(self) -> None:
        self._packed = self._forward.pack(self._weight, self._packed)

    def forward(self, x: Array) -> Array:
        self._x = x
        self._forward(x, self._packed, self._out, self._positions, self._bias)
        return self._out

    def backward(self, grad: Array) -> Array | None:
        if self._pooled_weight is not None:
            self._pooled_weight(grad, self._positions, self._x, self._grad_weight, self._grad_bias)
        if self._spread is not None:
            self._spread(grad, self._positions, self._full, None if self._full_weight is None else self._grad_bias)
        if self._full_weight is not None:
            self._full_weight(self._full, self._x)
        if self._pooled_input is not None:
            self._pooled_input.pack(self._weight, self._packed_back)
            self._pooled_input(grad, self._positions, self._packed_back, self._grad_x)
            return self._grad_x
        return None if self._full_input is None else self._full_input(self._full)

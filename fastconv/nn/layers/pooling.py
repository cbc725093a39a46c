"""Pooling: the maximum or the mean of each window, channel by channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastconv import dispatch

from .. import checks
from ..parameters import Array
from ..planning import Planning
from .base import LARGE, Layer, Shape, Stage, arguments_of, images
from .convolution import ConvolutionStage
from .shape import FlattenStage


@dataclass(frozen=True)
class _Pooling(Layer):
    """What the two have in common."""

    mode: ClassVar[str]

    pool_size: Any = 2
    strides: Any = None
    padding: Any = "valid"

    def __post_init__(self) -> None:
        size = checks.pair("pool_size", self.pool_size)
        self._set(pool_size=size, strides=size if self.strides is None else checks.pair("strides", self.strides))
        with arguments_of(self):  # whether the padding can be read and is at most half of the window
            self.problem((LARGE, LARGE, 1))

    def problem(self, shape: Shape, batch: int = 1, dtype: str = "float32") -> dispatch.Pool:
        """The pooling of ``batch`` images of ``shape``."""
        H, W, C = images(shape)
        return dispatch.Pool(
            mode=self.mode,
            N=batch,
            C=C,
            H=H,
            W=W,
            R=self.pool_size[0],
            S=self.pool_size[1],
            stride=self.strides,
            padding=dispatch.padding_pairs(self.padding, self.pool_size, self.strides, (1, 1), (H, W)),
            count_padding=False,
            dtype=dtype,
            layout="NHWC",
        )

    def output_shape(self, shape: Shape) -> Shape:
        with arguments_of(self, shape):
            return self.problem(shape).out_shape[1:]


@dataclass(frozen=True)
class MaxPool2D(_Pooling):
    """The largest of each window.  Of equal ones the first gets the gradient; NaN is larger than everything.

    Parameters
    ----------
    pool_size : int or (int, int)
        The window, pixels, (vertical, horizontal).
    strides : int or (int, int), optional
        By default the window's size.
    padding : "valid", "same", int, (int, int) or ((top, bottom), (left, right))
        At most half of the window.  It never wins.
    """

    mode = "max"

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        return [MaxPoolStage(self.problem(shape, planning.batch, planning.dtype), planning)]


@dataclass(frozen=True)
class AveragePool2D(_Pooling):
    """The mean of each window.

    Parameters
    ----------
    pool_size : int or (int, int)
        The window, pixels, (vertical, horizontal).
    strides : int or (int, int), optional
        By default the window's size.
    padding : "valid", "same", int, (int, int) or ((top, bottom), (left, right))
        At most half of the window.  It is not counted.
    """

    mode = "average"

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        return [AveragePoolStage(self.problem(shape, planning.batch, planning.dtype), planning)]


@dataclass(frozen=True)
class GlobalAveragePool2D(Layer):
    """The mean of each channel over all pixels: images (C, H, W) become features (C,).

    Source: Lin, Chen, Yan, "Network In Network", 2014.
    """

    def output_shape(self, shape: Shape) -> Shape:
        return images(shape)[2:]

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        pool = AveragePool2D(shape[:2]).problem(shape, planning.batch, planning.dtype)
        return [AveragePoolStage(pool, planning), FlattenStage((planning.batch, *pool.out_shape[1:]))]


class MaxPoolStage(Stage):
    """Remembers where each maximum was; backward sends the gradient there."""

    def __init__(self, problem: dispatch.Pool, planning: Planning) -> None:
        self._forward = planning.plan("pool", "forward", problem)
        self._out = planning.buffer("out", problem.out_shape[1:])
        self._indices = None
        if planning.training and planning.input_gradient:
            self._indices = planning.buffer("indices", problem.out_shape[1:], np.int32)
            self._backward = planning.plan("pool", "backward_input", problem)
            self._grad_x = planning.passed(problem.x_shape[1:])
        self._before: Callable[[Array], None] | None = None

    def take_over(self, convolution: ConvolutionStage, planning: Planning) -> None:
        """Compute the gradients of that layer's ReLU and bias here, where there are fewer pixels; planning: that layer's."""
        self._before = convolution.hand_over(self._out, planning)

    def forward(self, x: Array) -> Array:
        self._forward(x, self._out, self._indices)
        return self._out

    def backward(self, grad: Array) -> Array | None:
        if self._before is not None:
            self._before(grad)
        if self._indices is None:
            return None
        self._backward(grad, self._indices, self._grad_x)
        return self._grad_x


class AveragePoolStage(Stage):
    """Backward shares each gradient out evenly over its window."""

    def __init__(self, problem: dispatch.Pool, planning: Planning) -> None:
        self._forward = planning.plan("pool", "forward", problem)
        self._out = planning.buffer("out", problem.out_shape[1:])
        self._backward = None
        if planning.training and planning.input_gradient:
            self._backward = planning.plan("pool", "backward_input", problem)
            self._grad_x = planning.passed(problem.x_shape[1:])

    def forward(self, x: Array) -> Array:
        self._forward(x, self._out)
        return self._out

    def backward(self, grad: Array) -> Array | None:
        if self._backward is None:
            return None
        self._backward(grad, self._grad_x)
        return self._grad_x

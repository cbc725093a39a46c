"""Activations, as layers of their own and as what follows a convolution or a dense layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from fastconv import dispatch
from fastconv.errors import ArgumentError

from .. import checks
from ..parameters import Array
from ..planning import Planning
from .base import Layer, Shape, Stage, written


@dataclass(frozen=True)
class _Elementwise(Layer):
    """A function of each element."""

    function: ClassVar[str]

    @property
    def parameter(self) -> float:
        """The function's one parameter, if it has one."""
        return 0.0

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        return [ElementwiseStage(self.function, self.parameter, shape, planning)]


@dataclass(frozen=True)
class ReLU(_Elementwise):
    """max(x, 0); NaN stays NaN."""

    function = "relu"


@dataclass(frozen=True)
class LeakyReLU(_Elementwise):
    """x where x > 0, else ``slope`` * x."""

    function = "leaky_relu"
    slope: float = 0.01

    def __post_init__(self) -> None:
        self._set(slope=checks.number("slope", self.slope))

    @property
    def parameter(self) -> float:
        return self.slope


@dataclass(frozen=True)
class ELU(_Elementwise):
    """x where x > 0, else ``alpha`` * (exp(x) - 1)."""

    function = "elu"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        self._set(alpha=checks.number("alpha", self.alpha))

    @property
    def parameter(self) -> float:
        return self.alpha


@dataclass(frozen=True)
class Sigmoid(_Elementwise):
    """1 / (1 + exp(-x))."""

    function = "sigmoid"


@dataclass(frozen=True)
class Tanh(_Elementwise):
    """The hyperbolic tangent."""

    function = "tanh"


@dataclass(frozen=True)
class Softmax(Layer):
    """exp(x) / sum of exp(x), over the channels of each pixel or over the features.

    As the last layer it shapes what ``predict`` returns: losses are computed from what goes into it, which is the same and
    loses no digits.
    """

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        return [SoftmaxStage(shape, planning)]


@dataclass(frozen=True)
class Maxout(Layer):
    """The largest of each ``pieces`` neighbouring channels or features, of which there are then that many times fewer.

    Source: Goodfellow et al., "Maxout Networks", 2013.
    """

    pieces: int

    def __post_init__(self) -> None:
        self._set(pieces=checks.integer("pieces", self.pieces))

    def output_shape(self, shape: Shape) -> Shape:
        if shape[-1] % self.pieces:
            raise ArgumentError(f"pieces: {self.pieces} does not divide the channels; the input is {written(shape)}")
        return *shape[:-1], shape[-1] // self.pieces

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        return [MaxoutStage(self.pieces, shape, planning)]


ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "softmax": Softmax,
}
"""What ``activation=`` of Conv2D and Dense may name; those with a parameter take its default."""


def activation_stages(activation: str | None, shape: Shape, planning: Planning) -> list[Stage]:
    """What is left to do after a stage that has computed "relu" itself."""
    if activation in (None, "relu"):
        return []
    return ACTIVATIONS[activation]().stages(shape, planning.following("activation"))


class ElementwiseStage(Stage):
    """y = f(x); backward multiplies the gradient with f'(x), in place."""

    def __init__(self, function: str, parameter: float, shape: Shape, planning: Planning) -> None:
        problem = dispatch.Elementwise(function, planning.batch * prod(shape), planning.dtype, parameter)
        self._forward = planning.plan("elementwise", "forward", problem)
        self._out = planning.buffer("out", shape)
        if planning.training:
            self._backward = planning.plan("elementwise", "backward_input", problem)

    def forward(self, x: Array) -> Array:
        self._x = x
        self._forward(x, self._out)
        return self._out

    def backward(self, grad: Array) -> Array | None:
        self._backward(grad, self._x, self._out, grad)
        return grad


class SoftmaxStage(Stage):
    """Of every row, a row being the channels of a pixel or the features."""

    def __init__(self, shape: Shape, planning: Planning) -> None:
        problem = dispatch.Rows(planning.batch * prod(shape[:-1]), shape[-1], planning.dtype)
        self._rows = (problem.rows, problem.columns)
        self._forward = planning.plan("softmax", "forward", problem)
        self._out = planning.buffer("out", shape)
        if planning.training:
            self._backward = planning.plan("softmax", "backward_input", problem)
            self._grad_x = planning.passed(shape)

    def forward(self, x: Array) -> Array:
        self._forward(x.reshape(self._rows), self._out.reshape(self._rows))
        return self._out

    def backward(self, grad: Array) -> Array | None:
        self._backward(grad.reshape(self._rows), self._out.reshape(self._rows), self._grad_x.reshape(self._rows))
        return self._grad_x


class MaxoutStage(Stage):
    """Backward sends each gradient to the first largest of its pieces."""

    def __init__(self, pieces: int, shape: Shape, planning: Planning) -> None:
        channels = shape[-1] // pieces
        problem = dispatch.Maxout(planning.batch * prod(shape[:-1]), channels, 1, pieces, planning.dtype)
        self._forward = planning.plan("maxout", "forward", problem)
        self._out = planning.buffer("out", (*shape[:-1], channels))
        if planning.training:
            self._backward = planning.plan("maxout", "backward_input", problem)
            self._grad_x = planning.passed(shape)

    def forward(self, x: Array) -> Array:
        self._x = x
        self._forward(x, self._out)
        return self._out

    def backward(self, grad: Array) -> Array | None:
        self._backward(grad, self._x, self._grad_x)
        return self._grad_x

"""Convolution with a bias and an activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastconv import dispatch

from .. import checks
from ..parameters import Array
from ..planning import Planning
from .activation import ACTIVATIONS, activation_stages
from .base import LARGE, Layer, Parameter, Shape, Stage, arguments_of, images
from .fused import BiasGradient, ReluMask


@dataclass(frozen=True)
class Conv2D(Layer):
    """out (K, P, Q) = activation(x (C, H, W) cross-correlated with weight + bias).

    Parameters
    ----------
    filters : int
        K, output channels.
    kernel_size : int or (int, int)
        (R, S), pixels, (vertical, horizontal) as all pairs.
    strides, dilation : int or (int, int)
    padding : "valid", "same", int, (int, int) or ((top, bottom), (left, right))
        "same" gives ceil(size / stride) outputs.
    groups : int
        Divides C and ``filters``.
    activation : str, optional
        A name of ``ACTIVATIONS``.  "relu" is computed by the convolution itself.
    use_bias : bool

    Notes
    -----
    Parameters: weight (R, S, C / groups, K), bias (K,).
    """

    filters: int
    kernel_size: Any
    strides: Any = 1
    padding: Any = "valid"
    dilation: Any = 1
    groups: int = 1
    activation: str | None = None
    use_bias: bool = True

    def __post_init__(self) -> None:
        if self.activation is not None:
            checks.one_of("activation", self.activation, ACTIVATIONS)
        self._set(
            filters=checks.integer("filters", self.filters),
            kernel_size=checks.pair("kernel_size", self.kernel_size),
            strides=checks.pair("strides", self.strides),
            dilation=checks.pair("dilation", self.dilation),
            groups=checks.integer("groups", self.groups),
        )
        with arguments_of(self):  # whether the padding can be read and the groups divide the filters
            self.problem((LARGE, LARGE, self.groups))

    def problem(self, shape: Shape, batch: int = 1, dtype: str = "float32") -> dispatch.Conv:
        """The convolution of ``batch`` images of ``shape``."""
        H, W, C = images(shape)
        return dispatch.Conv(
            N=batch,
            C=C,
            H=H,
            W=W,
            K=self.filters,
            R=self.kernel_size[0],
            S=self.kernel_size[1],
            stride=self.strides,
            padding=dispatch.padding_pairs(self.padding, self.kernel_size, self.strides, self.dilation, (H, W)),
            dilation=self.dilation,
            groups=self.groups,
            dtype=dtype,
            layout="NHWC",
        )

    def output_shape(self, shape: Shape) -> Shape:
        with arguments_of(self, shape):
            return self.problem(shape).out_shape[1:]

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        problem = self.problem(shape)
        weight = {"weight": Parameter(problem.weight_shape, problem.depth)}
        return weight | ({"bias": Parameter((self.filters,), problem.depth)} if self.use_bias else {})

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        problem = self.problem(shape, planning.batch, planning.dtype)
        stage = ConvolutionStage(problem, planning, self.use_bias, self.activation == "relu")
        return [stage, *activation_stages(self.activation, problem.out_shape[1:], planning)]


class WeightGradient:
    """The gradient of a convolution's weight, from that of its output."""

    def __init__(self, problem: dispatch.Conv, planning: Planning) -> None:
        self._plan = planning.plan("conv", "backward_weight", problem)
        self._grad_weight = planning.gradient("weight")

    def __call__(self, grad: Array, x: Array) -> None:
        self._plan(grad, x, self._grad_weight)


class InputGradient:
    """The gradient of a convolution's input, from that of its output."""

    def __init__(self, problem: dispatch.Conv, planning: Planning) -> None:
        self._weight = planning.value("weight")
        self._plan = planning.plan("conv", "backward_input", problem)
        self._packed = self._plan.pack(self._weight)
        self._grad_x = planning.passed(problem.x_shape[1:])

    def __call__(self, grad: Array) -> Array:
        self._packed = self._plan.pack(self._weight, self._packed)
        self._plan(grad, self._packed, self._grad_x)
        return self._grad_x


class ConvolutionStage(Stage):
    """A convolution whose bias and ReLU are computed while the output is still in registers."""

    def __init__(self, problem: dispatch.Conv, planning: Planning, use_bias: bool, relu: bool) -> None:
        self._weight, self._bias = planning.value("weight"), planning.value("bias") if use_bias else None
        self._activation = "relu" if relu else None
        self._forward = planning.plan("conv", "forward", problem)
        self._packed = self._forward.pack(self._weight)
        self._out = planning.buffer("out", problem.out_shape[1:])
        if planning.training:
            self._weight_gradient = WeightGradient(problem, planning)
            self._input_gradient = InputGradient(problem, planning) if planning.input_gradient else None
            self._mask = ReluMask(self._out, planning) if relu else None
            self._bias_gradient = None if self._bias is None else BiasGradient(self._out, planning)

    def prepare(self) -> None:
        self._packed = self._forward.pack(self._weight, self._packed)

    def forward(self, x: Array) -> Array:
        self._x = x
        self._forward(x, self._packed, self._out, self._bias, None, self._activation)
        return self._out

    def hand_over(self, pooled: Array, planning: Planning) -> Callable[[Array], None]:
        """Leave the gradients of ReLU and bias to the max pooling that follows: a function of the gradient of ``pooled``.

        A pixel whose gradient is not zero is the maximum of a window: it is positive where the pooled pixel is, and both
        gradients have the same sum over the channel.  The pooled gradient has a quarter of the pixels, or fewer.
        """
        mask = None if self._mask is None else ReluMask(pooled, planning)
        bias_gradient = None if self._bias is None else BiasGradient(pooled, planning)
        self._mask = self._bias_gradient = None

        def backward(grad: Array) -> None:
            if mask is not None:
                mask(grad)
            if bias_gradient is not None:
                bias_gradient(grad)

        return backward

    def backward(self, grad: Array) -> Array | None:
        if self._mask is not None:
            self._mask(grad)
        if self._bias_gradient is not None:
            self._bias_gradient(grad)
        self._weight_gradient(grad, self._x)
        return None if self._input_gradient is None else self._input_gradient(grad)

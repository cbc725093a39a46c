"""A fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass

from fastconv import dispatch
from fastconv.errors import ArgumentError

from .. import checks
from ..parameters import Array
from ..planning import Planning
from .activation import ACTIVATIONS, activation_stages
from .base import Layer, Parameter, Shape, Stage, written
from .fused import BiasGradient, ReluMask


@dataclass(frozen=True)
class Dense(Layer):
    """out (units,) = activation(x (features,) @ weight + bias).

    Parameters
    ----------
    units : int
    activation : str, optional
        A name of ``ACTIVATIONS``.  "relu" is computed by the matrix product itself.
    use_bias : bool

    Notes
    -----
    Parameters: weight (features, units), bias (units,).  Put a ``Flatten`` between images and a dense layer.
    """

    units: int
    activation: str | None = None
    use_bias: bool = True

    def __post_init__(self) -> None:
        self._set(units=checks.integer("units", self.units))
        if self.activation is not None:
            checks.one_of("activation", self.activation, ACTIVATIONS)

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise ArgumentError(f"expected (features,), put a Flatten before it: its input is {written(shape)}")
        return (self.units,)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        weight = {"weight": Parameter((shape[0], self.units), shape[0])}
        return weight | ({"bias": Parameter((self.units,), shape[0])} if self.use_bias else {})

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        stage = DenseStage(shape[0], self.units, planning, self.use_bias, self.activation == "relu")
        return [stage, *activation_stages(self.activation, (self.units,), planning)]


class DenseStage(Stage):
    """Three matrix products: x @ W forward, xᵀ @ grad for the weights, grad @ Wᵀ for the input."""

    def __init__(self, features: int, units: int, planning: Planning, use_bias: bool, relu: bool) -> None:
        N, dtype = planning.batch, planning.dtype
        self._weight, self._bias = planning.value("weight"), planning.value("bias") if use_bias else None
        self._activation = "relu" if relu else None
        self._forward = planning.plan("matmul", "forward", dispatch.Matmul(N, units, features, dtype))
        self._out = planning.buffer("out", (units,))
        if not planning.training:
            return
        self._mask = ReluMask(self._out, planning) if relu else None
        self._backward_weight = planning.plan("matmul", "forward", dispatch.Matmul(features, units, N, dtype))
        self._grad_weight = planning.gradient("weight")
        self._bias_gradient = BiasGradient(self._out, planning) if use_bias else None
        self._backward_input = None
        if planning.input_gradient:
            self._backward_input = planning.plan("matmul", "forward", dispatch.Matmul(N, features, units, dtype))
            self._grad_x = planning.passed((features,))

    def forward(self, x: Array) -> Array:
        self._x = x
        self._forward(x, self._weight, self._out, self._bias, None, self._activation)
        return self._out

    def backward(self, grad: Array) -> Array | None:
        if self._mask is not None:
            self._mask(grad)
        if self._bias_gradient is not None:
            self._bias_gradient(grad)
        self._backward_weight(self._x.T, grad, self._grad_weight)
        if self._backward_input is None:
            return None
        self._backward_input(grad, self._weight.T, self._grad_x)
        return self._grad_x

"""Batch normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from fastconv import dispatch

from .. import checks
from ..parameters import Array
from ..planning import Planning
from .activation import ACTIVATIONS, activation_stages
from .base import Layer, Parameter, Shape, Stage


@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = activation((x - mean) / sqrt(variance + epsilon) * weight + bias), for each channel or feature.

    In training mean and variance are those of the batch, and running ones follow them; otherwise the running ones are used.

    Parameters
    ----------
    momentum : float
        The share of the new value in the running ones, as PyTorch counts it.
    epsilon : float
    activation : str, optional
        A name of ``ACTIVATIONS``.  "relu" is computed in the same pass.

    Notes
    -----
    Parameters: weight, bias (C,), 1 and 0 at first.  State: running_mean, running_var (C,), 0 and 1 at first; they are
    saved with the weights.  A convolution before it needs no bias.

    Source: Ioffe & Szegedy, "Batch Normalization", 2015.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    activation: str | None = None

    def __post_init__(self) -> None:
        self._set(momentum=checks.number("momentum", self.momentum), epsilon=checks.number("epsilon", self.epsilon))
        if self.activation is not None:
            checks.one_of("activation", self.activation, ACTIVATIONS)

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {"weight": Parameter(shape[-1:], value=1.0), "bias": Parameter(shape[-1:], value=0.0)}

    def state(self, shape: Shape) -> dict[str, Parameter]:
        return {"running_mean": Parameter(shape[-1:], value=0.0), "running_var": Parameter(shape[-1:], value=1.0)}

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        stage = BatchNormStage(self, shape, planning)
        return [stage, *activation_stages(self.activation, shape, planning)]


class BatchNormStage(Stage):
    """Normalises, adds what a residual block hands it, and rectifies, all in one pass; backward works in place."""

    def __init__(self, layer: BatchNorm, shape: Shape, planning: Planning) -> None:
        self._training, self.rectifies = planning.training, layer.activation == "relu"
        self._weight, self._bias = planning.value("weight"), planning.value("bias")
        self._running = planning.kept("running_mean"), planning.kept("running_var")
        self._constants = {"epsilon": layer.epsilon}
        self._out = planning.buffer("out", shape)
        self._residual: Array | None = None
        self._grad_residual: Array | None = None
        problem = dispatch.BatchNorm(planning.batch, shape[-1], prod(shape[:-1]), planning.dtype, "NHWC")
        self._forward = planning.plan("batch_norm", "forward" if planning.training else "inference", problem)
        if planning.training:
            self._constants["momentum"] = layer.momentum
            self._statistics = planning.whole("mean", shape[-1:]), planning.whole("inverse", shape[-1:])
            self._backward = planning.plan("batch_norm", "backward", problem)
            self._grad_weight, self._grad_bias = planning.gradient("weight"), planning.gradient("bias")

    def end_residual(self, relu: bool, grad_residual: Array | None) -> None:
        """Add a residual before rectifying from now on; its gradient goes into ``grad_residual``."""
        self.rectifies, self._grad_residual = relu, grad_residual

    def add(self, residual: Array) -> None:
        """What to add in the next ``forward``."""
        self._residual = residual

    def forward(self, x: Array) -> Array:
        self._x = x
        rest = self._residual, self.rectifies
        if self._training:
            given = self._weight, self._bias, self._out, *self._statistics, *self._running
            self._forward(x, *given, *rest, **self._constants)
        else:
            self._forward(x, self._weight, self._bias, *self._running, self._out, *rest, **self._constants)
        return self._out

    def backward(self, grad: Array) -> Array | None:
        given = self._x, self._weight, *self._statistics, grad, self._grad_weight, self._grad_bias
        self._backward(grad, *given, self._out if self.rectifies else None, self._grad_residual)
        return grad

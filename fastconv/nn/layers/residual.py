"""A residual block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastconv.errors import ArgumentError

from .. import checks
from ..parameters import Array
from ..planning import Planning, Turns
from .activation import ACTIVATIONS, activation_stages
from .base import Layer, Parameter, Shape, Stage, through, written
from .chain import Chain
from .fused import ReluMask
from .normalization import BatchNormStage

PATHS = ("body", "shortcut")


@dataclass(frozen=True)
class Residual(Layer):
    """y = activation(body(x) + shortcut(x)).

    Parameters
    ----------
    body : layers
        Where the last is a ``BatchNorm`` without an activation, it adds and rectifies in its own pass.
    shortcut : layers, optional
        None of them: x itself; a projection where the body changes the shape.
    activation : str, optional
        A name of ``ACTIVATIONS``.

    Notes
    -----
    Parameters: those of its layers, as "residual_1.body.conv2d_2.weight".

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2016.
    """

    body: Sequence[Layer]
    shortcut: Sequence[Layer] = ()
    activation: str | None = "relu"

    def __post_init__(self) -> None:
        for path in PATHS:
            layers = getattr(self, path)
            if not isinstance(layers, (list, tuple)) or not all(isinstance(layer, Layer) for layer in layers):
                raise ArgumentError(f"{path}: expected a sequence of layers, got {layers!r}")
            self._set(**{path: tuple(layers)})
        if not self.body:
            raise ArgumentError("body: expected at least one layer, got none")
        if self.activation is not None:
            checks.one_of("activation", self.activation, ACTIVATIONS)

    def chains(self, shape: Shape) -> tuple[Chain, Chain]:
        """Body and shortcut for one shape of input."""
        found = []
        for path in PATHS:
            try:
                found.append(Chain(getattr(self, path), shape))
            except ArgumentError as error:
                raise ArgumentError(f"{path}.{error}") from error
        return found[0], found[1]

    def output_shape(self, shape: Shape) -> Shape:
        body, shortcut = self.chains(shape)
        if body.shapes[-1] != shortcut.shapes[-1]:
            ends = written(body.shapes[-1]), written(shortcut.shapes[-1])
            raise ArgumentError(f"shortcut: expected what the body gives, {ends[0]}, got {ends[1]}")
        return body.shapes[-1]

    def _listed(self, shape: Shape, kind: str) -> dict[str, Parameter]:
        return {
            f"{path}.{name}": parameter
            for path, chain in zip(PATHS, self.chains(shape), strict=True)
            for name, (parameter, _) in getattr(chain, kind)().items()
        }

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return self._listed(shape, "parameters")

    def state(self, shape: Shape) -> dict[str, Parameter]:
        return self._listed(shape, "state")

    def stages(self, shape: Shape, planning: Planning) -> list[Stage]:
        body, shortcut = self.chains(shape)
        stage = ResidualStage(body, shortcut, self.activation == "relu", planning)
        return [stage, *activation_stages(self.activation, body.shapes[-1], planning)]


class ResidualStage(Stage):
    """Both paths, and their sum.  The gradient of the sum is kept aside for the shortcut while the body's passes through."""

    def __init__(self, body: Chain, shortcut: Chain, relu: bool, planning: Planning) -> None:
        inside = replace(planning, depth=planning.depth + 1)
        beside = replace(inside, turns=Turns(f"{planning.turns.lane}.beside{planning.depth}"))
        self._body, self._learning = body.plan(
            lambda _, name: replace(inside, name=f"{planning.name}.body.{name}"), planning.input_gradient
        )
        self._shortcut, self._shortcut_learning = shortcut.plan(
            lambda _, name: replace(beside, name=f"{planning.name}.shortcut.{name}"), planning.input_gradient
        )
        aside = beside.passed(body.shapes[-1])
        last = self._body[-1]
        self._sum: BatchNormStage | SumStage
        if isinstance(last, BatchNormStage) and not last.rectifies:
            self._sum = last
            last.end_residual(relu, aside)
        else:
            self._sum = SumStage(body.shapes[-1], relu, aside, planning)
            self._body.append(self._sum)
            self._learning.insert(0, self._sum)
        self._aside, self._input_gradient = aside, planning.input_gradient

    def prepare(self) -> None:
        for stage in (*self._body, *self._shortcut):
            stage.prepare()

    def forward(self, x: Array) -> Array:
        skipped = x
        for stage in self._shortcut:
            skipped = stage.forward(skipped)
        self._sum.add(skipped)
        for stage in self._body:
            x = stage.forward(x)
        return x

    def backward(self, grad: Array) -> Array | None:
        passed = through(self._learning, grad)
        skipped = through(self._shortcut_learning, self._aside)
        if passed is None or skipped is None or not self._input_gradient:
            return None
        np.add(passed, skipped, out=passed)
        return passed


class SumStage(Stage):
    """The sum of both paths, where no batch normalisation has computed it."""

    def __init__(self, shape: Shape, relu: bool, aside: Array, planning: Planning) -> None:
        self._out, self._aside = planning.buffer("out", shape), aside
        self._relu = relu
        if planning.training and relu:
            self._mask = ReluMask(self._out, planning)

    def add(self, residual: Array) -> None:
        """What to add in the next ``forward``."""
        self._residual = residual

    def forward(self, x: Array) -> Array:
        np.add(x, self._residual, out=self._out)
        if self._relu:
            np.maximum(self._out, 0, out=self._out)
        return self._out

    def backward(self, grad: Array) -> Array | None:
        if self._relu:
            self._mask(grad)
        np.copyto(self._aside, grad)
        return grad

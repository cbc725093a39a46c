"""Layers one after the other for one shape of input: their names, their shapes, and their stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fastconv.errors import ArgumentError

from ..planning import Planning
from .base import Layer, Parameter, Shape, Stage
from .fusion import fused


class Chain:
    """Layers one after the other.

    Attributes
    ----------
    names : list of str
        Of the layers: their kind and a number, as "conv2d_2".
    shapes : list of shapes
        What goes into each layer, and at the end what comes out of the last, all (H, W, C) or (features,).

    Raises
    ------
    ArgumentError
        A layer cannot take what it is given; the message begins with the layer's name.
    """

    def __init__(self, layers: Sequence[Layer], shape: Shape) -> None:
        self.layers, self.shapes = tuple(layers), [shape]
        kinds = [type(layer).__name__.lower() for layer in layers]
        self.names = [f"{kind}_{kinds[: index + 1].count(kind)}" for index, kind in enumerate(kinds)]
        for name, layer in zip(self.names, self.layers, strict=True):
            try:
                self.shapes.append(layer.output_shape(self.shapes[-1]))
            except ArgumentError as error:
                raise ArgumentError(f"{name}: {error}") from error

    def _listed(self, of: Callable[[Layer, Shape], dict[str, Parameter]]) -> dict[str, tuple[Parameter, int]]:
        return {
            f"{name}.{role}": (parameter, index)
            for index, (name, layer, shape) in enumerate(zip(self.names, self.layers, self.shapes[:-1], strict=True))
            for role, parameter in of(layer, shape).items()
        }

    def parameters(self) -> dict[str, tuple[Parameter, int]]:
        """By name: every parameter, and the place of its layer."""
        return self._listed(lambda layer, shape: layer.parameters(shape))

    def state(self) -> dict[str, tuple[Parameter, int]]:
        """By name: every array of state, and the place of its layer."""
        return self._listed(lambda layer, shape: layer.state(shape))

    def plan(self, planning: Callable[[int, str], Planning], input_gradient: bool) -> tuple[list[Stage], list[Stage]]:
        """(all stages in order, those that the backward pass goes through, last first).

        planning: from the place and the name of a layer what it is given to plan with; input_gradient: whether the gradient
        of the chain's input is needed, else that of the first layer which learns is not
        """
        first = min((place for _, place in self.parameters().values()), default=len(self.layers))
        stages: list[Stage] = []
        learning: list[Stage] = []
        for place, layer in fused(self.layers):
            given = replace(planning(place, self.names[place]), input_gradient=input_gradient or place > first)
            made = layer.stages(self.shapes[place], given)
            stages += made
            if input_gradient or place >= first:
                learning += made
        return stages, learning[::-1]

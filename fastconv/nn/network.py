"""Layers joined for one shape of input: their names, their parameters and, for each batch size, their plans."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np

from .host import Host
from .layers import Chain, Layer, Softmax, Stage
from .layers.base import Shape, through, written
from .parameters import Array, Parameters, State
from .place import Place
from .planning import Engine, Memory, Noted, Planning, Turns

PLANS = 8
"""Plans that are kept: training, validation and prediction, each with a last, smaller batch, and two more."""

WEIGHTS, CHANCE, ORDER = range(3)
"""What a model's seed is used for; each has streams of its own, so that none depends on how much another draws."""


def generator(seed: int, *stream: int) -> np.random.Generator:
    """One of a seed's independent streams of random numbers."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def chance(seed: int) -> np.random.SeedSequence:
    """What the layers' chance follows from."""
    return np.random.SeedSequence(seed, spawn_key=(CHANCE,))


@dataclass
class NetworkPlan:
    """The network for one batch size.

    Attributes
    ----------
    stages : all, in order
    learning : those that the backward pass goes through, last first
    rehearsed : whether it has run once, so that everything in it is compiled
    """

    stages: list[Stage]
    learning: list[Stage]
    rehearsed: bool = False

    def prepare(self) -> None:
        """Take note of new weights."""
        for stage in self.stages:
            stage.prepare()

    def forward(self, x: Array) -> Array:
        """The outputs for the images ``x`` (N, H, W, C)."""
        for stage in self.stages:
            x = stage.forward(x)
        return x

    def backward(self, grad: Array) -> None:
        """Fill the gradients of all parameters from that of the outputs, which is overwritten."""
        through(self.learning, grad)


class Network:
    """Layers for one shape of input.

    Parameters
    ----------
    layers : layers in order
    input_shape : (C, H, W) or (features,)
    seed : int
        Of the initial weights, and of what is dropped until ``reseed``.

    Attributes
    ----------
    names : list of str
        Of the layers: their kind and a number, as "conv2d_2".
    shapes : list of shapes
        What goes into each layer, and at the end what comes out of the last, all (H, W, C) or (features,).
    parameters : Parameters
        Named "conv2d_2.weight" and so on.
    state : State
        As "batchnorm_1.running_mean".
    place : Place
        Where all arrays are.

    Raises
    ------
    ArgumentError
        A layer cannot take what it is given; the message begins with the layer's name.
    """

    def __init__(self, layers: Sequence[Layer], input_shape: Shape, seed: int, engine: Engine) -> None:
        self.input_shape, self.engine = input_shape, engine
        self._chain = Chain(layers, input_shape if len(input_shape) == 1 else (*input_shape[1:], input_shape[0]))
        self.layers, self.names, self.shapes = list(self._chain.layers), self._chain.names, self._chain.shapes
        learned, kept = self._chain.parameters(), self._chain.state()
        self.parameters = Parameters({name: parameter.shape for name, (parameter, _) in learned.items()}, engine.dtype)
        self.state = State({name: array.shape for name, (array, _) in kept.items()}, engine.dtype)
        streams = [generator(seed, WEIGHTS, index) for index in range(len(self.layers))]
        for described, values in ((learned, self.parameters.value), (kept, self.state.value)):
            for name, (parameter, index) in described.items():
                values[name][...] = parameter.draw(streams[index])
        self._chance = chance(seed)
        self.place: Place = Host()
        self.memory, self._settled = Memory(self.place), False
        self._plans: dict[tuple[int, bool, bool], NetworkPlan] = {}

    @property
    def output_shape(self) -> Shape:
        """Of one image's output."""
        return self.shapes[-1]

    @property
    def ends_in_softmax(self) -> bool:
        """Whether the outputs are probabilities already."""
        return _ends_in_softmax(self.layers[-1])

    def reseed(self, seed: int) -> None:
        """Let other elements be dropped."""
        self._chance = chance(seed)
        self._plans.clear()

    def run_on(self, engine: Engine) -> None:
        """Compute elsewhere, or with other threads, from now on."""
        self.engine, self._settled = engine, False
        self._plans.clear()

    def working(self) -> AbstractContextManager[None]:
        """What all computing has to be inside of; the arrays are then where the engine computes.

        Raises
        ------
        TargetUnavailableError, DeviceError
        """
        if not self._settled:
            place = _place(self.engine)
            if type(place) is not type(self.place):
                self.parameters.move(self.place, place)
                self.state.move(self.place, place)
                self.place, self.memory = place, Memory(place)
                self._plans.clear()
            self._settled = True
        return self.place.working()

    def plan(self, batch: int, training: bool = False, logits: bool = False) -> NetworkPlan:
        """The network for ``batch`` images, from the plans that are kept or new.

        Parameters
        ----------
        training : bool
            Whether ``backward`` will be called.
        logits : bool
            Whether a softmax at the end is left out, as losses want it.
        """
        key = (batch, training, logits)
        plan = self._plans.pop(key, None) or self._planned(*key)
        self._plans[key] = plan  # the one used last is the last
        if len(self._plans) > PLANS:
            del self._plans[next(iter(self._plans))]
        return plan

    def problems(self, batch: int, training: bool = False) -> list[Noted]:
        """What the layers have kernels compute for ``batch`` images, in the order in which it is planned."""
        noted: list[Noted] = []
        self._planned(batch, training, False, noted)
        return noted

    def _planned(self, batch: int, training: bool, logits: bool, noted: list[Noted] | None = None) -> NetworkPlan:
        planning = Planning(
            self.engine,
            self.memory,
            self.parameters,
            self.state,
            batch,
            training,
            input_gradient=False,
            name="",
            turns=Turns(),
            chance=self._chance,
            noted=[] if noted is None else noted,
        )
        stages, learning = self._chain.plan(lambda _, name: replace(planning, name=name), input_gradient=False)
        if logits and _ends_in_softmax(self.layers[-1]):
            last = stages.pop()
            learning = [stage for stage in learning if stage is not last]
        return NetworkPlan(stages, learning)


def _place(engine: Engine) -> Place:
    if not engine.on_device:
        return Host()
    from .device import Device

    return Device()


def _ends_in_softmax(layer: Layer) -> bool:
    return isinstance(layer, Softmax) or getattr(layer, "activation", None) == "softmax"


def table(network: Network) -> str:
    """The layers with their output shapes and numbers of parameters, one a line."""
    rows = [("layer", "output", "parameters")]
    for name, layer, before, after in zip(network.names, network.layers, network.shapes[:-1], network.shapes[1:], strict=True):
        count = sum(int(np.prod(parameter.shape)) for parameter in layer.parameters(before).values())
        rows.append((name, written(after).rpartition("= ")[2], f"{count:,}"))
    rows.append(("total", "", f"{network.parameters.count:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}" for row in rows)

"""What layers are planned with: buffers, parameters, and where the kernels run.

Everything that a step needs is made when the batch size is known.  The steps themselves then allocate no arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from fastconv import dispatch
from fastconv.errors import UnsupportedError

from .parameters import Parameters, State
from .place import Array, Place


class Memory:
    """Buffers by name: that of a smaller batch is the beginning of the largest one's.

    No two batches are computed at the same time, so that a last, smaller batch and the evaluation cost no memory of their own.

    Attributes
    ----------
    steps : (2,) int64
        Of training, that have been taken in this epoch and altogether.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.steps: Array = place.zeros(2, np.int64)
        self._flat: dict[tuple[str, str], Array] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """A C-contiguous buffer that starts on a cache line; what is in it is undefined."""
        key, size = (name, np.dtype(dtype).name), prod(shape)
        flat = self._flat.get(key)
        if flat is None or flat.size < size:
            flat = self._flat[key] = self.place.zeros(size, dtype)
        return flat[:size].reshape(shape)


class Turns:
    """Which of two buffers takes the next gradient: every stage writes one while it reads the other, which the next wrote."""

    def __init__(self, lane: str = "gradient") -> None:
        self.lane, self._turn = lane, 0

    def next(self) -> str:
        """The name of a buffer, another than that of the call before."""
        self._turn = 1 - self._turn
        return f"{self.lane}.{self._turn}"


@dataclass(frozen=True)
class Engine:
    """Where a network is computed: the dtype of everything in it, and what is asked of ``dispatch``."""

    dtype: str = "float32"
    target: str | None = None
    threads: int | None = None

    def plan(self, operator: str, direction: str, problem: Any, prepared: bool = False) -> Any:
        """A kernel's plan that is ours alone; prepared: its weights are packed once for many calls."""
        return dispatch.plan_for(operator, direction, problem, target=self.target, threads=self.threads, prepared=prepared)

    @property
    def on_device(self) -> bool:
        """Whether all arrays have to be on a device: as was asked for, else as is asked for around here."""
        return (self.target or dispatch.settings().target) == "cuda"

    def computes(self, operator: str, direction: str, problem: Any) -> bool:
        """Whether any kernel computes ``problem`` as asked."""
        try:
            dispatch.choose(operator, direction, problem, target=self.target)
        except UnsupportedError:
            return False
        return True

    def offers(self, operator: str, direction: str, problem: Any) -> bool:
        """Whether a kernel computes ``problem`` where all is computed: not the reference, unless that is asked for."""
        return dispatch.choose(operator, direction, problem, target=self.target).target == (self.target or "cpu")


class Noted(NamedTuple):
    """What a layer, or a stage of it, has a kernel's plan for."""

    layer: str
    operator: str
    direction: str
    problem: Any


@dataclass(frozen=True)
class Planning:
    """What one layer is given to plan with.

    Attributes
    ----------
    batch : int
        Images.
    training : bool
        Whether the backward pass will be asked for, and dropout drops.
    input_gradient : bool
        Whether anything before the layer learns, so that the gradient of its input is needed.
    name : str
        The layer's, under which its parameters and buffers are kept.
    turns : Turns
        Whose buffers the gradients of inputs go into.
    chance : numpy.random.SeedSequence
        What the layers' chance follows from.
    depth : int
        How many blocks the layer is inside.
    noted : list of Noted
        What has been planned, for those who ask.
    """

    engine: Engine
    memory: Memory
    parameters: Parameters
    state: State
    batch: int
    training: bool
    input_gradient: bool
    name: str
    turns: Turns
    chance: np.random.SeedSequence
    depth: int = 0
    noted: list[Noted] = field(default_factory=list)

    @property
    def dtype(self) -> str:
        return self.engine.dtype

    def plan(self, operator: str, direction: str, problem: Any) -> Any:
        """A kernel's plan that is ours alone."""
        self.noted.append(Noted(self.name, operator, direction, problem))
        return self.engine.plan(operator, direction, problem, prepared=not self.training)

    def key(self) -> tuple[int, int]:
        """Of the random numbers of this layer, by its name: no two have the same."""
        own = np.random.SeedSequence(self.chance.entropy, spawn_key=(*self.chance.spawn_key, crc32(self.name.encode())))
        first, second = own.generate_state(2)
        return int(first), int(second)

    def following(self, part: str) -> Planning:
        """For a stage that follows another of the same layer: it keeps its buffers apart, and its input has a gradient."""
        return replace(self, name=f"{self.name}.{part}", input_gradient=True)

    def buffer(self, role: str, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """A buffer of the layer's for one batch: ``shape`` is that of one image's part."""
        return self.memory.take(f"{self.name}.{role}", (self.batch, *shape), dtype or self.dtype)

    def whole(self, role: str, shape: tuple[int, ...]) -> Array:
        """A buffer of the layer's that belongs to no image."""
        return self.memory.take(f"{self.name}.{role}", shape, self.dtype)

    def passed(self, shape: tuple[int, ...]) -> Array:
        """The buffer for the gradient of a stage's input, in which it is good until the next stage but one has written."""
        return self.memory.take(self.turns.next(), (self.batch, *shape), self.dtype)

    def value(self, role: str) -> Array:
        """One of the layer's parameters."""
        return self.parameters.value[f"{self.name}.{role}"]

    def gradient(self, role: str) -> Array:
        """The gradient of one of the layer's parameters."""
        return self.parameters.gradient[f"{self.name}.{role}"]

    def kept(self, role: str) -> Array:
        """One of the layer's arrays of state."""
        return self.state.value[f"{self.name}.{role}"]

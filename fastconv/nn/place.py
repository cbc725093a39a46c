"""Where a network lives: the questions that layers and the trainer ask, and never where they are.

``host.Host`` and ``device.Device`` answer them.  An array is NumPy's on the one and has NumPy's manners on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

Arguments = Callable[[int], dict[str, Any]]
"""From the number of a step, counted from 0, what an optimizer's plan is given beside its arrays."""


class Steps(Protocol):
    """What differs from one step of a training to the next: its number, its images, the optimizer's arguments."""

    @property
    def taken(self) -> int:
        """How many steps there have been altogether, at the beginning of an epoch."""

    def rehearse(self, arguments: Arguments) -> None:
        """Run all that a step of this place's runs, with such arguments; nothing has then been counted."""

    def begin(self, order: Array, batch: int, arguments: Arguments) -> None:
        """An epoch of the images in this ``order``, ``batch`` in each step, and with ``arguments(taken)`` for the update."""

    def update(self) -> None:
        """Update the arrays as the step's arguments say."""

    def advance(self) -> None:
        """Go on to the next step."""

    def end(self) -> None:
        """All steps of the epoch have been taken."""


class Input(Protocol):
    """Where the batches of one size arrive, as the network wants them: its dtype, (N, H, W, C), bytes scaled to [0, 1].

    Attributes
    ----------
    images : (N, H, W, C) or (N, features)
        The batch that was loaded last.
    labels : (N,) int64
    """

    images: Array
    labels: Array

    def gather(self, x: Array, y: Array, steps: Any) -> None:
        """Load the images and labels of the next of ``steps``, which are of the same place."""

    def slice(self, x: Array, start: int, y: Array | None = None) -> None:
        """Load the images (and labels) from ``start`` on."""


class Tally(Protocol):
    """The losses of all batches since ``start``, and how many images were classified right.

    Right is the largest output being the label's, the first of equal ones.
    """

    def start(self) -> None:
        """Begin at zero."""

    def add(self, outputs: Array, labels: Array, losses: Array) -> None:
        """Count a batch: ``outputs`` (N, classes), ``labels`` (N,) int64, ``losses`` (N,)."""

    def check(self) -> None:
        """Raise ``Unusable`` if a loss was no finite number, where that is known without waiting."""

    def read(self) -> tuple[float, int]:
        """(sum of losses, images classified right)."""


class Unusable(Exception):
    """A loss is no finite number."""


class Engine(Protocol):
    """What plans kernels; ``planning.Engine`` does."""

    @property
    def dtype(self) -> str: ...

    def plan(self, operator: str, direction: str, problem: Any) -> Any:
        """A kernel's plan that is ours alone."""


class Memory(Protocol):
    """Buffers at a place, by name; ``planning.Memory`` has them.

    Attributes
    ----------
    steps : (2,) int64
        Of training, that have been taken in this epoch and altogether.
    """

    steps: Array

    @property
    def place(self) -> Place: ...

    def take(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """A C-contiguous buffer; what is in it is undefined."""


class Place(Protocol):
    """Memory, and what computes in it.

    Attributes
    ----------
    waits : bool
        Whether reading a result means waiting for it: then it is read now and then, not after each step.
    """

    waits: bool

    def working(self) -> AbstractContextManager[None]:
        """What all computing here has to be inside of."""

    def zeros(self, size: int, dtype: Any) -> Array:
        """A new flat array that starts on a cache line."""

    def put(self, values: Array) -> Array:
        """``values``, NumPy's, as they are needed here: themselves if they can be."""

    def write(self, array: Array, values: Array) -> None:
        """Copy ``values``, NumPy's, into ``array``."""

    def fetch(self, array: Array) -> Array:
        """``array`` as NumPy's: itself if it is one."""

    def repeated(self, work: Callable[[], None]) -> Callable[[], None]:
        """``work``, which does the same with the same arrays every time, made ready to be called often."""

    def steps(self, memory: Memory, update: Any, arrays: Sequence[Array]) -> Steps:
        """The count of a training's steps; each ends with ``update``, an optimizer's plan, of ``arrays``."""

    def input(self, memory: Memory, batch: int, shape: tuple[int, ...], source_dtype: Any, engine: Engine) -> Input:
        """Where the batches of one size arrive."""

    def tally(self, memory: Memory, batch: int, accuracy: bool) -> Tally:
        """The count of losses and right answers, one for all batch sizes."""

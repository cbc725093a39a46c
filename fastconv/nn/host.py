"""The host's memory as the place where a network lives: arrays are NumPy's.

``Host`` and ``device.Device`` answer the same questions; layers and the trainer ask them and never which of the two it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from .parameters import Array, aligned

if TYPE_CHECKING:
    from .planning import Memory


class Unusable(Exception):
    """A loss is no finite number."""


class Host:
    """Memory of the host.

    Attributes
    ----------
    waits : bool
        Whether reading a result means waiting for it: then it is read now and then, not after each step.
    """

    waits = False

    def working(self) -> AbstractContextManager[None]:
        """What all computing here has to be inside of."""
        return nullcontext()

    def zeros(self, size: int, dtype: Any) -> Array:
        """A new flat array that starts on a cache line."""
        return aligned(size, dtype)

    def put(self, values: Array) -> Array:
        """``values``, NumPy's, as they are needed here: themselves if they can be."""
        return values

    def write(self, array: Array, values: Array) -> None:
        """Copy ``values``, NumPy's, into ``array``."""
        if array is not values:
            array[...] = values

    def fetch(self, array: Array) -> Array:
        """``array`` as NumPy's: itself if it is one."""
        return array

    def drawing(self, array: Array) -> Array:
        """NumPy's array of the same shape, in which to prepare what is then written into ``array``: itself if it is one."""
        return array

    def repeated(self, work: Callable[[], None]) -> Callable[[], None]:
        """``work``, which does the same with the same arrays every time, made ready to be called often."""
        return work

    def input(self, memory: Memory, batch: int, shape: tuple[int, ...], source_dtype: Any, dtype: str) -> Input:
        """Where the batches of one size arrive."""
        return Input(memory, batch, shape, source_dtype, dtype)

    def tally(self, memory: Memory, batch: int, accuracy: bool) -> Tally:
        """The count of losses and right answers, one for all batch sizes."""
        return Tally(memory, batch, accuracy)


class Input:
    """Where the batches of one size arrive, as the network wants them: its dtype, (N, H, W, C), bytes scaled to [0, 1].

    Attributes
    ----------
    images : (N, H, W, C) or (N, features)
        The batch that was loaded last.
    labels : (N,) int64
    """

    def __init__(self, memory: Memory, batch: int, input_shape: tuple[int, ...], source_dtype: Any, dtype: str) -> None:
        inside = input_shape if len(input_shape) == 1 else (*input_shape[1:], input_shape[0])
        self.images = memory.take("input.images", (batch, *inside), dtype)
        self.labels = memory.take("input.labels", (batch,), np.int64)
        self._scale = self.images.dtype.type(1 / 255) if source_dtype == np.uint8 else None
        # The images in the source's order of axes: where they are copied to, converted and transposed in one pass.
        as_given = np.moveaxis(self.images, -1, 1) if len(inside) == 3 else self.images
        if inside[-1] == 1:  # the same memory either way, but only as a reshape is it known to be contiguous
            as_given = self.images.reshape(batch, *input_shape)
        self._as_given = as_given
        direct = as_given.flags.c_contiguous and source_dtype == self.images.dtype
        self._staged = as_given if direct else memory.take("input.staged", (batch, *input_shape), source_dtype)

    def gather(self, x: Array, y: Array, order: Array) -> None:
        """Load the images and labels at the indices ``order`` (N,)."""
        # "clip" checks no indices, and so writes straight into the buffer; "raise" would go through a temporary array
        x.take(order, 0, out=self._staged, mode="clip")
        y.take(order, 0, out=self.labels, mode="clip")
        self._convert(self._staged)

    def slice(self, x: Array, start: int, y: Array | None = None) -> None:
        """Load the images (and labels) from ``start`` on."""
        stop = start + len(self.images)
        if y is not None:
            np.copyto(self.labels, y[start:stop])
        self._convert(x[start:stop])

    def _convert(self, source: Array) -> None:
        if source is not self._as_given:
            np.copyto(self._as_given, source, casting="same_kind")
        if self._scale is not None:
            np.multiply(self.images, self._scale, out=self.images)


class Tally:
    """The losses of all batches since ``start``, and how many images were classified right.

    Right is the largest output being the label's, the first of equal ones.
    """

    def __init__(self, memory: Memory, batch: int, accuracy: bool) -> None:
        self._totals = memory.take("metric.totals", (2,), np.float64)
        self._classes = memory.take("metric.classes", (batch,), np.intp)
        self._equal = memory.take("metric.equal", (batch,), np.bool_)
        self._accuracy = accuracy

    def start(self) -> None:
        """Begin at zero."""
        self._totals.fill(0)

    def add(self, outputs: Array, labels: Array, losses: Array) -> None:
        """Count a batch: ``outputs`` (N, classes), ``labels`` (N,) int64, ``losses`` (N,)."""
        self._totals[0] += np.add.reduce(losses)
        if self._accuracy:
            outputs.argmax(1, out=self._classes)
            np.equal(self._classes, labels, out=self._equal)
            self._totals[1] += np.count_nonzero(self._equal)

    def check(self) -> None:
        """Raise ``Unusable`` if a loss was no finite number, where that is known without waiting."""
        if not isfinite(self._totals[0]):
            raise Unusable

    def read(self) -> tuple[float, int]:
        """(sum of losses, images classified right)."""
        return float(self._totals[0]), int(self._totals[1])

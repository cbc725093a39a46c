"""The host's memory as the place where a network lives: arrays are NumPy's; the questions are those of ``place``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import isfinite, prod
from typing import Any

import numpy as np

from fastconv.dispatch import Gather

from .parameters import aligned
from .place import Arguments, Array, Engine, Memory, Unusable


class Host:
    """Memory of the host."""

    waits = False

    def working(self) -> AbstractContextManager[None]:
        return nullcontext()

    def zeros(self, size: int, dtype: Any) -> Array:
        return aligned(size, dtype)

    def put(self, values: Array) -> Array:
        """Without a copy but of floats of other lengths than float32 and float64, and of bytes in another order."""
        if values.dtype.kind != "f":
            return values
        return np.require(values, np.float32 if values.itemsize <= 4 else np.float64, "A")

    def write(self, array: Array, values: Array) -> None:
        if array is not values:
            array[...] = values

    def fetch(self, array: Array) -> Array:
        return array

    def repeated(self, work: Callable[[], None]) -> Callable[[], None]:
        return work

    def steps(self, memory: Memory, update: Any, arrays: Sequence[Array]) -> Steps:
        return Steps(memory, update, arrays)

    def input(self, memory: Memory, batch: int, shape: tuple[int, ...], source_dtype: Any, engine: Engine) -> Input:
        return Input(memory, batch, shape, source_dtype, engine)

    def tally(self, memory: Memory, batch: int, accuracy: bool) -> Tally:
        return Tally(memory, batch, accuracy)


class Steps:
    """Counted in ``memory.steps``, where kernels read them too."""

    def __init__(self, memory: Memory, update: Any, arrays: Sequence[Array]) -> None:
        self._counts, self._update, self._arrays = memory.steps, update, arrays
        self._counts.fill(0)

    @property
    def taken(self) -> int:
        return int(self._counts[1])

    def rehearse(self, arguments: Arguments) -> None:
        self._update(*self._arrays, **arguments(0))

    def begin(self, order: Array, batch: int, arguments: Arguments) -> None:
        self._order, self._batch, self._arguments = order, batch, arguments
        self._counts[0] = 0

    def indices(self, size: int) -> Array:
        """Of the next ``size`` images."""
        start = int(self._counts[0]) * self._batch
        return self._order[start : start + size]

    def update(self) -> None:
        self._update(*self._arrays, **self._arguments(self.taken))

    def advance(self) -> None:
        self._counts += 1

    def end(self) -> None:
        """Nothing: they have been counted one by one."""


class Input:
    """Batches that are gathered from the data set, converted and transposed in one pass."""

    def __init__(self, memory: Memory, batch: int, input_shape: tuple[int, ...], source_dtype: Any, engine: Engine) -> None:
        inside = input_shape if len(input_shape) == 1 else (*input_shape[1:], input_shape[0])
        self.images = memory.take("input.images", (batch, *inside), engine.dtype)
        self.labels = memory.take("input.labels", (batch,), np.int64)
        scale = 1 / 255 if source_dtype == np.uint8 else 1.0
        channels = 1 if len(input_shape) == 1 else input_shape[0]
        self._shape = channels, prod(input_shape) // channels
        self._gather = engine.plan(
            "gather", "forward", Gather(batch, *self._shape, np.dtype(source_dtype).name, engine.dtype, scale)
        )
        self._arriving = self.images.reshape(batch, *self._shape[::-1])
        self._as_given = np.arange(batch)

    def gather(self, x: Array, y: Array, steps: Any) -> None:
        order = steps.indices(len(self.labels))
        # "clip" checks no indices, and so writes straight into the buffer; "raise" would go through a temporary array
        y.take(order, 0, out=self.labels, mode="clip")
        self._gather(x.reshape(len(x), *self._shape), order, self._arriving)

    def slice(self, x: Array, start: int, y: Array | None = None) -> None:
        stop = start + len(self.images)
        if y is not None:
            np.copyto(self.labels, y[start:stop])
        self._gather(x[start:stop].reshape(-1, *self._shape), self._as_given, self._arriving)


class Tally:
    """Totals that are known at once."""

    def __init__(self, memory: Memory, batch: int, accuracy: bool) -> None:
        self._totals = memory.take("metric.totals", (2,), np.float64)
        self._classes = memory.take("metric.classes", (batch,), np.intp)
        self._equal = memory.take("metric.equal", (batch,), np.bool_)
        self._accuracy = accuracy

    def start(self) -> None:
        self._totals.fill(0)

    def add(self, outputs: Array, labels: Array, losses: Array) -> None:
        self._totals[0] += np.add.reduce(losses)
        if self._accuracy:
            outputs.argmax(1, out=self._classes)
            np.equal(self._classes, labels, out=self._equal)
            self._totals[1] += np.count_nonzero(self._equal)

    def check(self) -> None:
        if not isfinite(self._totals[0]):
            raise Unusable

    def read(self) -> tuple[float, int]:
        return float(self._totals[0]), int(self._totals[1])

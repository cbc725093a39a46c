"""A CUDA device's memory as the place where a network lives: data set, weights, activations and optimizer state stay there.

Arrays are ``DeviceArray``, which kernels take, and of which NumPy's functions about memory can be asked.  The host starts
kernels and waits for none but where it reads: the losses and right answers of an epoch at its end, and for the progress bar.

NOT YET RUN ON HARDWARE: proven in Numba's simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.functional import _on_device, _placement

from .place import Arguments, Array, Engine, Memory


class Device:
    """Memory of device 0; the questions are those of ``place``."""

    waits = True

    def __init__(self) -> None:
        _placement.needs_cuda("target: cuda")
        with _placement.errors_of_the_device():
            self._here = _placement.copied_to(0, np.zeros(1, np.float32))

    @contextmanager
    def working(self) -> Iterator[None]:
        with _placement.errors_of_the_device(), _placement.working(self._here):
            yield

    def zeros(self, size: int, dtype: Any) -> Any:
        if size > _on_device.LARGEST:
            told = "batch_size: kernels for CUDA count at most 2**31 - 1 elements of an array"
            raise ArgumentError(f"{told}, a layer needs {size}; a smaller batch may do")
        with self.working():
            array = self._here.empty((size,), dtype)
            array.fill(0)
        return array

    def put(self, values: Array) -> Any:
        """A copy; float16 and float64 become float32."""
        kept = values.dtype.kind in "iu" or values.dtype == np.float32
        native = values.astype(values.dtype.newbyteorder("=") if kept else np.float32, copy=False)
        with _placement.errors_of_the_device():
            return _placement.copied_to(0, native)

    def write(self, array: Any, values: Array) -> None:
        with self.working():
            _on_device.fill(array, np.ascontiguousarray(values, array.dtype))

    def fetch(self, array: Any) -> Array:
        with self.working():
            return _placement.fetched(array)  # type: ignore[no-any-return]

    def repeated(self, work: Callable[[], None]) -> Callable[[], None]:
        return _on_device.Repeated(work)

    def steps(self, memory: Memory, update: Any, arrays: Sequence[Any]) -> Steps:
        return Steps(memory, update, arrays)

    def input(self, memory: Memory, batch: int, shape: tuple[int, ...], source_dtype: Any, engine: Engine) -> Input:
        return Input(memory, batch, shape, source_dtype, engine.dtype)

    def tally(self, memory: Memory, batch: int, accuracy: bool) -> Tally:
        return Tally(memory, accuracy)


class Steps:
    """Counts, order and the optimizer's rates are in the device's memory before an epoch begins.

    Its kernels read there what differs from one step to the next, so that a step is one record, and waits for nothing.
    """

    def __init__(self, memory: Memory, update: Any, arrays: Sequence[Any]) -> None:
        self.taken, self._coming = 0, 0
        self._memory, self._update, self._arrays = memory, update, arrays

    def rehearse(self, arguments: Arguments) -> None:
        self.begin(np.zeros(1, np.int64), 1, arguments)
        self.update()
        self.advance()

    def begin(self, order: Array, batch: int, arguments: Arguments) -> None:
        memory, write = self._memory, self._memory.place.write
        self._coming, self.batch = -(-len(order) // batch), batch
        rates = [self._update.rates(**arguments(self.taken + step)) for step in range(self._coming)]
        self._rates: Any = memory.take("optimizer.rates", (self._coming, len(rates[0])), np.float32)
        self.order: Any = memory.take("input.order", (len(order),), np.int64)
        write(self._rates, np.array(rates, np.float32))
        write(self.order, order)
        write(memory.steps, np.array([0, self.taken]))

    def update(self) -> None:
        self._update.scheduled(self._rates, self._memory.steps, *self._arrays)

    def advance(self) -> None:
        _on_device.advance(self._memory.steps)

    def end(self) -> None:
        self.taken += self._coming


class Input:
    """Batches of one size, gathered from the data set where it lies."""

    def __init__(self, memory: Memory, batch: int, input_shape: tuple[int, ...], source_dtype: Any, dtype: str) -> None:
        inside = input_shape if len(input_shape) == 1 else (*input_shape[1:], input_shape[0])
        self.images: Any = memory.take("input.images", (batch, *inside), dtype)
        self.labels: Any = memory.take("input.labels", (batch,), np.int64)
        self._scale = 1 / 255 if source_dtype == np.uint8 else 1.0
        self._as_given: Any = memory.take("input.as_given", (batch,), np.int64)
        memory.place.write(self._as_given, np.arange(batch))
        self._steps = memory.steps

    def gather(self, x: Any, y: Any, steps: Any) -> None:
        self._gather(x, y, steps.order, steps.batch)

    def slice(self, x: Any, start: int, y: Any = None) -> None:
        stop = start + len(self.images)
        self._gather(x[start:stop], None if y is None else y[start:stop], self._as_given, 0)

    def _gather(self, x: Any, y: Any, order: Any, stride: int) -> None:
        _on_device.gather(x, y, order, self._steps, stride, self.images, self.labels, self._scale)


class Tally:
    """Totals in the device's memory."""

    def __init__(self, memory: Memory, accuracy: bool) -> None:
        self._totals: Any = memory.take("metric.totals", (2,), np.float64)
        self._place, self._accuracy = memory.place, accuracy

    def start(self) -> None:
        self._totals.fill(0)

    def add(self, outputs: Any, labels: Any, losses: Any) -> None:
        _on_device.count(outputs, labels, losses, self._totals)

    def check(self) -> None:
        """Nothing is known without waiting."""

    def read(self) -> tuple[float, int]:
        loss, right = self._place.fetch(self._totals)
        return float(loss), int(right) if self._accuracy else 0

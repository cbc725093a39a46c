"""A CUDA device's memory as the place where a network lives: data set, weights, activations and optimizer state stay there.

Arrays are ``DeviceArray``, which kernels take, and of which NumPy's functions about memory can be asked.  The host starts
kernels and waits for none but where it reads: the losses and right answers of an epoch at its end, and for the progress bar.

NOT YET RUN ON HARDWARE: proven in Numba's simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.functional import _on_device, _placement

if TYPE_CHECKING:
    from .planning import Memory

Host = np.ndarray[Any, Any]


class Device:
    """Memory of device 0; the questions are those of ``host.Host``."""

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
        with self.working():
            array = self._here.empty((size,), dtype)
            array.fill(0)
        return array

    def put(self, values: Host) -> Any:
        """A copy; float16 and float64 become float32."""
        kept = values.dtype.kind in "iu" or values.dtype == np.float32
        native = values.astype(values.dtype.newbyteorder("=") if kept else np.float32, copy=False)
        with _placement.errors_of_the_device():
            return _placement.copied_to(0, native)

    def write(self, array: Any, values: Host) -> None:
        with self.working():
            _on_device.fill(array, np.ascontiguousarray(values, array.dtype))

    def fetch(self, array: Any) -> Host:
        with self.working():
            return _placement.fetched(array)  # type: ignore[no-any-return]

    def drawing(self, array: Any) -> Host:
        return np.empty(array.shape, array.dtype)

    def repeated(self, work: Callable[[], None]) -> Callable[[], None]:
        return _on_device.Repeated(work)

    def input(self, memory: Memory, batch: int, shape: tuple[int, ...], source_dtype: Any, dtype: str) -> Input:
        return Input(memory, batch, shape, source_dtype, dtype)

    def tally(self, memory: Memory, batch: int, accuracy: bool) -> Tally:
        return Tally(memory, accuracy)


class Input:
    """Batches of one size, gathered from the data set where it lies."""

    def __init__(self, memory: Memory, batch: int, input_shape: tuple[int, ...], source_dtype: Any, dtype: str) -> None:
        inside = input_shape if len(input_shape) == 1 else (*input_shape[1:], input_shape[0])
        self.images: Any = memory.take("input.images", (batch, *inside), dtype)
        self.labels: Any = memory.take("input.labels", (batch,), np.int64)
        self._scale = 1 / 255 if source_dtype == np.uint8 else 1.0
        self._in_order: Any = memory.take("input.order", (batch,), np.int64)
        memory.place.write(self._in_order, np.arange(batch))

    def gather(self, x: Any, y: Any, order: Any) -> None:
        _on_device.gather(x, y, order, self.images, self.labels, self._scale)

    def slice(self, x: Any, start: int, y: Any = None) -> None:
        stop = start + len(self.images)
        self.gather(x[start:stop], None if y is None else y[start:stop], self._in_order)


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

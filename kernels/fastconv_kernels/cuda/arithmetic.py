"""The few sums and products of whole arrays that a network asks of NumPy, on the device: four elements at a time (``stream``).

``DeviceArray`` answers ``np.add``, ``np.multiply`` and ``np.maximum`` by them, so that what is written once for NumPy's
arrays, the sum of a residual block for example, computes where the arrays are.
"""

from typing import Any, NamedTuple

import numpy as np

from .build import device
from .stream import stream


class Number(NamedTuple):
    """The second operand, where it is no array."""

    number: float


@device
def add(values, results, rates):
    results[0] = values[0] + values[1]


@device
def multiply(values, results, rates):
    results[0] = values[0] * values[1]


@device
def at_least(values, results, rates):
    value = values[0]
    results[0] = rates.number if value < rates.number else value  # a NaN stays one


OF_ARRAYS = {np.add: add, np.multiply: multiply}
WITH_NUMBER = {np.maximum: at_least}


def compute(ufunc: Any, first: Any, second: Any, out: Any) -> bool:
    """Write what ``ufunc`` gives for an array and another, or a number, into ``out``; False if that is not known here."""
    if isinstance(second, (int, float)):
        element, read, number = WITH_NUMBER.get(ufunc), [first], float(second)
    else:
        element, read, number = OF_ARRAYS.get(ufunc), [first, second], 0.0
    if element is None or not all(_streams(array, out.shape) for array in (*read, out)):
        return False
    stream(element, read, [out], Number(number))
    return True


def _streams(array: Any, shape: tuple[int, ...]) -> bool:
    """Whether it is an array on a device, of ``shape`` and float32, without gaps."""
    there = hasattr(array, "__cuda_array_interface__") and array.shape == shape
    return there and array.dtype == np.float32 and bool(array.flags.c_contiguous)

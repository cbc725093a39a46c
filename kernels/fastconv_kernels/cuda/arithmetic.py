"""The few sums and products of whole arrays that a network asks of NumPy, on the device: four elements at a time (``stream``).

``DeviceArray`` answers ``np.add``, ``np.multiply`` and ``np.maximum`` by them, so that what is written once for NumPy's
arrays, the sum of a residual block for example, computes where the arrays are.
"""

from typing import Any, NamedTuple

import numpy as np

from ..elementwise.functions import larger
from .build import device
from .stream import stream

of_two = device(larger)


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
    results[0] = of_two(rates.number, values[0])


OF_ARRAYS = {np.add: add, np.multiply: multiply}
WITH_NUMBER = {np.maximum: at_least}


def compute(ufunc: Any, first: Any, second: Any, out: Any) -> bool:
    """Write what ``ufunc`` gives for an array and another, or a number, into ``out``; False if that is not known here."""
    if isinstance(second, (int, float)):
        element, read, number = WITH_NUMBER.get(ufunc), [first], float(second)
    else:
        element, read, number = OF_ARRAYS.get(ufunc), [first, second], 0.0
    if element is None or any(array.dtype != np.float32 or array.shape != out.shape for array in (*read, out)):
        return False
    stream(element, read, [out], Number(number))
    return True

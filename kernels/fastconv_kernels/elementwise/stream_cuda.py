"""Activations on the GPU: the functions of ``functions.py``, four elements at a time (``cuda.stream``).

thread      16 bytes of each array, element by element through the function, then those a grid further
barriers    none: nothing is shared, memory is the limit
"""

from functools import cache
from typing import NamedTuple

from ..cuda.build import device
from ..cuda.stream import stream
from . import functions


class Rates(NamedTuple):
    """What a function has besides its elements."""

    parameter: float


@cache
def forward(name):
    """Of one element."""
    function = device(getattr(functions, name))

    @device
    def element(values, results, rates):
        results[0] = function(values[0], rates.parameter)

    return element


@cache
def backward(name):
    """Of one element: its gradient, x and y."""
    function = device(getattr(functions, f"{name}_backward"))

    @device
    def element(values, results, rates):
        results[0] = function(values[0], values[1], values[2], rates.parameter)

    return element


class _Stream:
    workspace_bytes = 0

    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads
        self.rates = Rates(float(problem.parameter))


class Forward(_Stream):
    """``plan(x, out)``; ``out`` may be ``x``."""

    def __call__(self, x, out):
        """Write the function of ``x`` into ``out``."""
        stream(forward(self.problem.function), [x], [out], self.rates)
        return out


class BackwardInput(_Stream):
    """``plan(grad_output, x, y, out)``; ``out`` may be any of the others."""

    def __call__(self, grad_output, x, y, out):
        """Write ``grad_output`` times the derivative at ``x`` into ``out``."""
        stream(backward(self.problem.function), [grad_output, x, y], [out], self.rates)
        return out

"""Steps of optimizers on the GPU: those of ``steps.py``, four parameters at a time (``cuda.stream``), all in one launch.

    thread      16 bytes of parameters, gradients and state, through the step of one parameter, then those a grid further
    barriers    none: nothing is shared, memory is the limit

``plan(…)`` is one step, as on the CPU.  ``plan.scheduled(table, steps, *arrays)`` takes what one step has from a row of a
table in the device's memory, made of ``plan.rates(…)``: it can be recorded once and started for every step.
"""

from typing import NamedTuple

from ..cuda.build import device
from ..cuda.stream import stream, stream_scheduled
from . import steps

descend, descend_with_momentum = device(steps.descend), device(steps.descend_with_momentum)
adam = device(steps.adam)


class Descent(NamedTuple):
    """Of gradient descent."""

    learning_rate: float
    weight_decay: float


class Momentum(NamedTuple):
    """Of gradient descent with momentum."""

    learning_rate: float
    weight_decay: float
    momentum: float
    nesterov: float
    """1 or 0."""


class AdamRates(NamedTuple):
    """Of Adam, as ``steps.adam_rates`` gives them."""

    step: float
    shrink: float
    weight_decay: float
    keep_mean: float
    add_mean: float
    keep_square: float
    add_square: float
    root: float
    epsilon: float


@device
def sgd_element(values, results, rates):
    results[0] = descend(values[0], values[1], rates.learning_rate, rates.weight_decay)


@device
def momentum_element(values, results, rates):
    nesterov = rates.nesterov != 0
    results[0], results[1] = descend_with_momentum(
        values[0], values[1], values[2], rates.learning_rate, rates.weight_decay, rates.momentum, nesterov
    )


@device
def adam_element(values, results, rates):
    results[0], results[1], results[2] = adam(values[0], values[1], values[2], values[3], rates)


@device
def descent_at(table, i):
    return Descent(table[i], table[i + 1])


@device
def momentum_at(table, i):
    return Momentum(table[i], table[i + 1], table[i + 2], table[i + 3])


@device
def adam_at(table, i):
    return AdamRates(
        table[i],
        table[i + 1],
        table[i + 2],
        table[i + 3],
        table[i + 4],
        table[i + 5],
        table[i + 6],
        table[i + 7],
        table[i + 8],
    )


class _Plan:
    workspace_bytes = 0

    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads

    def __call__(self, parameters, gradients, *state, **arguments):
        """Update ``parameters`` and the ``state``; the arguments are those of ``rates``."""
        element, _ = self._functions(state)
        stream(element, [parameters, gradients, *state], [parameters, *state], self.rates(**arguments))

    def scheduled(self, table, steps, parameters, gradients, *state):
        """The same, with the rates in row ``steps[0]`` of ``table`` (…, numbers of ``rates``) float32."""
        element, row = self._functions(state)
        stream_scheduled(element, [parameters, gradients, *state], [parameters, *state], row, table, steps)


class Sgd(_Plan):
    """Stochastic gradient descent; the state is the velocity, where there is momentum."""

    def _functions(self, state):
        return (momentum_element, momentum_at) if state else (sgd_element, descent_at)

    def rates(self, *, learning_rate, momentum=0.0, nesterov=False, weight_decay=0.0):
        """What one step has beside its arrays."""
        plain = float(learning_rate), float(weight_decay)
        return Momentum(*plain, float(momentum), float(nesterov)) if momentum else Descent(*plain)


class Adam(_Plan):
    """Adam, and AdamW with ``decoupled``; the state is the running means of the gradient and of its square."""

    def _functions(self, state):
        return adam_element, adam_at

    def rates(self, *, step, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0, decoupled=False):
        """What one step, counted from 1, has beside its arrays."""
        return AdamRates(*steps.adam_rates(step, learning_rate, beta1, beta2, epsilon, weight_decay, decoupled))

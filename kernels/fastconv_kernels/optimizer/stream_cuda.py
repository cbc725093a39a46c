"""Steps of optimizers on the GPU: those of ``steps.py``, four parameters at a time (``cuda.stream``), all in one launch."""

from functools import cache
from typing import NamedTuple

from ..cuda.build import device
from ..cuda.stream import stream
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


@cache
def momentum_element(nesterov):
    """Of one parameter, its gradient and velocity."""

    @device
    def element(values, results, rates):
        results[0], results[1] = descend_with_momentum(
            values[0], values[1], values[2], rates.learning_rate, rates.weight_decay, rates.momentum, nesterov
        )

    return element


@device
def adam_element(values, results, rates):
    results[0], results[1], results[2] = adam(values[0], values[1], values[2], values[3], rates)


class _Plan:
    workspace_bytes = 0

    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads


class Sgd(_Plan):
    """Stochastic gradient descent."""

    def __call__(self, parameters, gradients, velocity=None, *, learning_rate, momentum=0.0, nesterov=False, weight_decay=0.0):
        """Update ``parameters`` and, with momentum, ``velocity``."""
        if velocity is None:
            rates = Descent(float(learning_rate), float(weight_decay))
            stream(sgd_element, [parameters, gradients], [parameters], rates)
        else:
            rates = Momentum(float(learning_rate), float(weight_decay), float(momentum))
            written = [parameters, velocity]
            stream(momentum_element(bool(nesterov)), [parameters, gradients, velocity], written, rates)


class Adam(_Plan):
    """Adam, and AdamW with ``decoupled``."""

    def __call__(
        self,
        parameters,
        gradients,
        mean,
        square,
        *,
        step,
        learning_rate,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        weight_decay=0.0,
        decoupled=False,
    ):
        """Update ``parameters`` and both moments; ``step`` counts from 1."""
        rates = AdamRates(*steps.adam_rates(step, learning_rate, beta1, beta2, epsilon, weight_decay, decoupled))
        stream(adam_element, [parameters, gradients, mean, square], [parameters, mean, square], rates)

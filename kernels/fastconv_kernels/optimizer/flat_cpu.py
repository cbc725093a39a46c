"""Steps of optimizers on the CPU: one pass over flat arrays, each element read and written once."""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import inlined, threaded
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..problems import Update
from . import steps

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 14
"""Parameters: fewer, 5 µs of them, are updated sooner than a second thread starts."""

descend = inlined(steps.descend)
descend_with_momentum = inlined(steps.descend_with_momentum)
adam_step = inlined(steps.adam)


@threaded
def sgd(parameters, gradients, rates, threads):
    """``rates`` is (learning rate, weight decay)."""
    for thread in prange(threads):
        first, end = share(thread, threads, parameters.size)
        p, g = elements(parameters, first), elements(gradients, first)
        learning_rate, weight_decay = rates
        for i in range(end - first):
            p[i] = descend(p[i], g[i], learning_rate, weight_decay)


@threaded
def sgd_with_momentum(parameters, gradients, velocity, rates, nesterov, threads):
    """``rates`` is (learning rate, weight decay, momentum)."""
    for thread in prange(threads):
        first, end = share(thread, threads, parameters.size)
        p, g, v = elements(parameters, first), elements(gradients, first), elements(velocity, first)
        learning_rate, weight_decay, momentum = rates
        for i in range(end - first):
            p[i], v[i] = descend_with_momentum(p[i], g[i], v[i], learning_rate, weight_decay, momentum, nesterov)


@threaded
def adam(parameters, gradients, mean, square, rates, threads):
    """``rates`` as ``steps.adam_rates`` gives them."""
    for thread in prange(threads):
        first, end = share(thread, threads, parameters.size)
        p, g = elements(parameters, first), elements(gradients, first)
        m, s = elements(mean, first), elements(square, first)
        for i in range(end - first):
            p[i], m[i], s[i] = adam_step(p[i], g[i], m[i], s[i], rates)


class _Plan:
    workspace_bytes = 0

    def __init__(self, problem: Update, threads: int) -> None:
        self.problem = problem
        self.threads = threads_for(threads, problem.size, GRAIN)
        self.kind = np.dtype(problem.dtype).type

    def _typed(self, *rates: float) -> tuple[Any, ...]:
        """As the kernels take them: one double among them would make the arithmetic of every float32 double."""
        return tuple(self.kind(rate) for rate in rates)


class Sgd(_Plan):
    """Stochastic gradient descent."""

    def __call__(
        self,
        parameters: Array,
        gradients: Array,
        velocity: Array | None = None,
        *,
        learning_rate: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        """Update ``parameters`` and, with momentum, ``velocity``."""
        if velocity is None:
            sgd(parameters, gradients, self._typed(learning_rate, weight_decay), self.threads)
        else:
            rates = self._typed(learning_rate, weight_decay, momentum)
            sgd_with_momentum(parameters, gradients, velocity, rates, nesterov, self.threads)


class Adam(_Plan):
    """Adam, and AdamW with ``decoupled``."""

    def __call__(
        self,
        parameters: Array,
        gradients: Array,
        mean: Array,
        square: Array,
        *,
        step: int,
        learning_rate: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        """Update ``parameters`` and both moments; ``step`` counts from 1."""
        rates = steps.adam_rates(step, learning_rate, beta1, beta2, epsilon, weight_decay, decoupled)
        adam(parameters, gradients, mean, square, self._typed(*rates), self.threads)

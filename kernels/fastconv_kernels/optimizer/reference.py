"""Steps of optimizers in NumPy: the formulas of ``torch.optim``, on whole arrays, in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems import Update

Array = np.ndarray[Any, np.dtype[Any]]


class _Plan:
    workspace_bytes = 0

    def __init__(self, problem: Update, threads: int) -> None:
        self.problem, self.threads = problem, threads


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
        direction = gradients + weight_decay * parameters
        if velocity is not None:
            velocity *= momentum
            velocity += direction
            direction = direction + momentum * velocity if nesterov else velocity
        parameters -= learning_rate * direction


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
        gradient = gradients
        if decoupled:
            parameters *= 1 - learning_rate * weight_decay
        else:
            gradient = gradients + weight_decay * parameters
        mean *= beta1
        mean += (1 - beta1) * gradient
        square *= beta2
        square += (1 - beta2) * gradient * gradient
        root = np.sqrt(square) / np.sqrt(1 - beta2**step)
        parameters -= (learning_rate / (1 - beta1**step)) * mean / (root + epsilon)

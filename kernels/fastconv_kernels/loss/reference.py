"""Softmax, its logarithm and cross-entropy in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems import Rows

Array = np.ndarray[Any, np.dtype[Any]]


def softmax(x: Array) -> Array:
    """e**x of each row over their sum."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def log_softmax(x: Array) -> Array:
    """The logarithm of the softmax of each row, with nothing lost where that is 0."""
    shifted = x - x.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


class _Plan:
    workspace_bytes = 0

    def __init__(self, problem: Rows, threads: int) -> None:
        self.problem, self.threads = problem, threads


class Softmax(_Plan):
    def __call__(self, x: Array, out: Array) -> Array:
        """Write the softmax of each row of ``x`` into ``out``."""
        out[...] = softmax(x)
        return out


class SoftmaxBackward(_Plan):
    def __call__(self, grad_output: Array, y: Array, out: Array) -> Array:
        """Write the gradient of the input into ``out``; ``y`` is the softmax."""
        out[...] = y * (grad_output - (grad_output * y).sum(axis=1, keepdims=True))
        return out


class LogSoftmax(_Plan):
    def __call__(self, x: Array, out: Array) -> Array:
        """Write the logarithm of the softmax of each row of ``x`` into ``out``."""
        out[...] = log_softmax(x)
        return out


class LogSoftmaxBackward(_Plan):
    def __call__(self, grad_output: Array, y: Array, out: Array) -> Array:
        """Write the gradient of the input into ``out``; ``y`` is the logarithm of the softmax."""
        out[...] = grad_output - np.exp(y) * grad_output.sum(axis=1, keepdims=True)
        return out


class CrossEntropy(_Plan):
    def __call__(self, logits: Array, labels: Array, losses: Array, grad: Array) -> Array:
        """Write each row's loss, and the gradient of their mean."""
        target = labels if labels.ndim == 2 else np.eye(self.problem.columns, dtype=logits.dtype)[labels]
        logs = log_softmax(logits)
        losses[...] = -np.where(target != 0, target * logs, 0).sum(axis=1)
        grad[...] = (np.exp(logs) * target.sum(axis=1, keepdims=True) - target) / max(1, self.problem.rows)
        return losses

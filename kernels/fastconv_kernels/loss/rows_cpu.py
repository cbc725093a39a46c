"""Softmax, its logarithm and cross-entropy on the CPU: each thread has its rows."""

from typing import Any

import numpy as np
from numba import prange

from ..cpu.compile import filled, inlined, threaded
from ..cpu.elements import elements
from ..cpu.share import share, threads_for
from ..problems import Rows
from . import row as rows_of

Array = np.ndarray[Any, np.dtype[Any]]

GRAIN = 1 << 13
"""Elements: fewer are computed sooner than a second thread starts."""

loss_of_label = inlined(rows_of.cross_entropy)
loss_of_distribution = inlined(rows_of.cross_entropy_of_distribution)
body = None  # the loops below are patterns, filled with one of row.py


def forward(x, out, threads):
    for thread in prange(threads):
        rows, count = x.shape
        first, end = share(thread, threads, rows)
        for row in range(first, end):
            body(elements(x, row * count), elements(out, row * count), count)


def backward(gradient, y, out, threads):
    for thread in prange(threads):
        rows, count = y.shape
        first, end = share(thread, threads, rows)
        for row in range(first, end):
            at = row * count
            body(elements(gradient, at), elements(y, at), elements(out, at), count)


@threaded
def cross_entropy(logits, labels, losses, grad, scale, threads):
    """One pass over each row; ``labels`` are the numbers of the classes, (rows,)."""
    for thread in prange(threads):
        rows, count = logits.shape
        first, end = share(thread, threads, rows)
        for row in range(first, end):
            at = row * count
            losses[row] = loss_of_label(elements(logits, at), labels[row], elements(grad, at), count, scale)


@threaded
def cross_entropy_of_distributions(logits, targets, losses, grad, scale, threads):
    """One pass over each row; ``targets`` has a weight for each class, (rows, classes)."""
    for thread in prange(threads):
        rows, count = logits.shape
        first, end = share(thread, threads, rows)
        for row in range(first, end):
            at = row * count
            target = elements(targets, at)
            losses[row] = loss_of_distribution(elements(logits, at), target, elements(grad, at), count, scale)


class _Plan:
    workspace_bytes = 0

    def __init__(self, problem: Rows, threads: int) -> None:
        self.problem = problem
        self.threads = threads_for(threads, problem.rows * problem.columns, GRAIN)


class Softmax(_Plan):
    """``plan(x, out)``"""

    loop = filled(forward, rows_of.softmax)

    def __call__(self, x: Array, out: Array) -> Array:
        """Write the softmax of each row of ``x`` into ``out``."""
        self.loop(x, out, self.threads)
        return out


class SoftmaxBackward(_Plan):
    """``plan(grad_output, y, out)``"""

    loop = filled(backward, rows_of.softmax_backward)

    def __call__(self, grad_output: Array, y: Array, out: Array) -> Array:
        """Write the gradient of the input into ``out``; ``y`` is the softmax."""
        self.loop(grad_output, y, out, self.threads)
        return out


class LogSoftmax(_Plan):
    """``plan(x, out)``"""

    loop = filled(forward, rows_of.log_softmax)

    def __call__(self, x: Array, out: Array) -> Array:
        """Write the logarithm of the softmax of each row of ``x`` into ``out``."""
        self.loop(x, out, self.threads)
        return out


class LogSoftmaxBackward(_Plan):
    """``plan(grad_output, y, out)``"""

    loop = filled(backward, rows_of.log_softmax_backward)

    def __call__(self, grad_output: Array, y: Array, out: Array) -> Array:
        """Write the gradient of the input into ``out``; ``y`` is the logarithm of the softmax."""
        self.loop(grad_output, y, out, self.threads)
        return out


class CrossEntropy(_Plan):
    """``plan(logits, labels, losses, grad)``"""

    def __init__(self, problem: Rows, threads: int) -> None:
        super().__init__(problem, threads)
        self.scale = np.dtype(problem.dtype).type(1 / max(1, problem.rows))

    def __call__(self, logits: Array, labels: Array, losses: Array, grad: Array) -> Array:
        """Write each row's loss, and the gradient of their mean."""
        loop = cross_entropy if labels.ndim == 1 else cross_entropy_of_distributions
        loop(logits, labels, losses, grad, self.scale, self.threads)
        return losses

"""Metrics: what is reported beside the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastconv.errors import ArgumentError

from . import checks
from .parameters import Array
from .planning import Memory

METRICS = ("accuracy",)


def check(metrics: Sequence[str]) -> tuple[str, ...]:
    """The names, if they are metrics."""
    if isinstance(metrics, str):
        raise ArgumentError(f"metrics: expected a list of names, got {metrics!r}")
    return tuple(checks.one_of("metrics", metric, METRICS) for metric in metrics)


class Correct:
    """How many of a batch are classified right: the largest output is the label's, the first of equal ones."""

    def __init__(self, memory: Memory, batch: int) -> None:
        self._classes = memory.take("metric.classes", (batch,), np.intp)
        self._equal = memory.take("metric.equal", (batch,), np.bool_)

    def __call__(self, outputs: Array, labels: Array) -> int:
        """Of ``outputs`` (N, classes) and ``labels`` (N,) int64."""
        outputs.argmax(1, out=self._classes)
        np.equal(self._classes, labels, out=self._equal)
        return int(np.count_nonzero(self._equal))

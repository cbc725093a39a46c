"""Metrics: what is reported beside the loss."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.errors import ArgumentError

from . import checks

METRICS = ("accuracy",)


def check(metrics: Sequence[str]) -> tuple[str, ...]:
    """The names, if they are metrics."""
    if isinstance(metrics, str):
        raise ArgumentError(f"metrics: expected a list of names, got {metrics!r}")
    return tuple(checks.one_of("metrics", metric, METRICS) for metric in metrics)

"""How long a call takes: calls are repeated until a sample is long enough, contestants take turns, medians count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from random import Random
from statistics import median
from time import perf_counter
from typing import Any


def calls_for(call: Callable[[], Any], seconds: float) -> int:
    """How many calls last ``seconds``, after as many as it takes to find out."""
    calls = 1
    while (each := repeat(call, calls)) * calls < seconds / 8:
        calls *= 4
    return max(1, ceil(seconds / each))


def repeat(call: Callable[[], Any], calls: int) -> float:
    """Seconds of one call, the mean of ``calls``; before a sample of several the caches are warmed by one more."""
    if calls > 1:
        call()
    start = perf_counter()
    for _ in range(calls):
        call()
    return (perf_counter() - start) / calls


def interleaved(samples: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The samples of ``rounds`` rounds, in each of which every one has its turn.

    Each round has another order, the same in every run: what is in the caches depends on who came before.
    """
    found: dict[str, list[float]] = {name: [] for name in samples}
    draw = Random(0)
    for _ in range(rounds):
        for name in draw.sample(list(samples), len(samples)):
            found[name].append(samples[name]())
    return found


def spread(samples: list[float]) -> float:
    """By how much of their median samples differ from it at most."""
    middle = median(samples)
    return max(abs(each / middle - 1) for each in samples)

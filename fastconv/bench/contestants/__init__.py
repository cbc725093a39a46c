"""Who is measured: each library answers a case with a call of it, in a process that has the library's environment.

A module of this package has ``entry(case, operands, threads, **options)``, which gives an ``Entry``, or None where the library
has nothing of its own for the case and the options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
"""Tells glibc's allocator not to give memory back, without which much of PyTorch's time goes into page faults."""


OPENMP_SPINS = 0.012
"""Seconds: GNU OpenMP's 300,000 looks for work, the processor's time of which went on for 8 ms after a convolution."""


@dataclass(frozen=True)
class Contestant:
    """Somebody who is asked for a case.

    Attributes
    ----------
    name : str
        In results and tables.
    library : str
        The module of this package that answers.
    options : mapping
        For its ``entry``.
    environment : mapping
        Of its process.
    subnormal : bool
        Whether one element in seven of its operands is nearer to zero than the smallest normal number.
    """

    name: str
    library: str
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: KEEP_MEMORY)
    subnormal: bool = False


@dataclass
class Entry:
    """A contestant's answer to a case.

    Attributes
    ----------
    call : callable
        What is timed.
    result : callable (what the call returned) -> array
        Its result, images in NCHW and weights in KCRS, to be verified.
    kernel : str
        What computes it, if that has a name.
    flops : int or None
        Of a call; None: the problem's.
    steps : int
        What a call does so often; seconds are those of one.
    spins : float
        Seconds for which the library's threads look for work before they sleep, on cores that the next contestant's need.
    tolerance : float
        By which the result may differ, relative to the largest: above what Winograd's transforms lose, far below what a wrong
        index makes.
    """

    call: Callable[[], Any]
    result: Callable[[Any], Any] | None
    kernel: str = ""
    flops: int | None = None
    steps: int = 1
    spins: float = 0.0
    tolerance: float = 1e-4


@dataclass(frozen=True)
class Answer:
    """What became of a contestant: ``kernel`` computes ``flops`` a call, unless it ``failed``."""

    kernel: str = ""
    flops: int | None = None
    failed: str = ""


def library(name: str) -> Any:
    """The module that answers for a library."""
    return import_module(f"{__name__}.{name}")

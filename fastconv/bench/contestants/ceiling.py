"""The machine: fused multiply-adds, and bytes moved within each cache and in memory, of which each counts as one flop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from fastconv.bench.cases import Case
from fastconv.functional import ceilings

from . import Entry
from .operands import Operands, empty
from .sizes import places

Work: TypeAlias = tuple[Callable[[], object], int]
"""(a call, how much it does)."""


def peak(threads: int) -> Work:
    """Multiply-adds alone."""
    return ceilings.peak(threads)


def copies(threads: int, name: str) -> Work:
    """Copies within a place of ``sizes.places``."""
    known = {place.name: place.copied for place in places(threads)}
    source, target = (empty((threads, known[name] // 4)) for _ in range(2))
    source.fill(1)
    return ceilings.copying(source, target, known["memory"] // known[name])


def updates(threads: int, name: str) -> Work:
    """As many bytes changed in place."""
    known = {place.name: 2 * place.copied for place in places(threads)}
    numbers = empty((threads, known[name] // 4))
    numbers.fill(1)
    return ceilings.updating(numbers, known["memory"] // known[name])


def entry(
    case: Case | None,
    operands: Operands | None,
    threads: int,
    copied: str | None = None,
    updated: str | None = None,
    on_device: str | None = None,
) -> Entry:
    """Multiply-adds, whatever the case; copies within ``copied``; changes in place within ``updated``; what a GPU does."""
    if on_device:
        call, work = ceilings.on_device(on_device)
    else:
        call, work = updates(threads, updated) if updated else copies(threads, copied) if copied else peak(threads)
    return Entry(call, None, flops=work)

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


def product(threads: int) -> Work:
    """A tile's products of what stays in the first cache."""
    return ceilings.product(threads)


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
    tile: bool = False,
) -> Entry:
    """Multiply-adds or those of a ``tile``; copies within ``copied``; changes in place within ``updated``; what a GPU does."""
    if on_device:
        call, work = ceilings.on_device(on_device)
    elif updated:
        call, work = updates(threads, updated)
    elif copied:
        call, work = copies(threads, copied)
    else:
        call, work = product(threads) if tile else peak(threads)
    return Entry(call, None, flops=work)

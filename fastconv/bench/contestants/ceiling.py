"""The machine: fused multiply-adds, and bytes copied within each cache and in memory, of which each counts as one flop."""

from __future__ import annotations

from fastconv.bench.cases import Case
from fastconv.functional import ceilings

from . import Entry
from .operands import Operands, empty
from .sizes import COPIED


def entry(case: Case | None, operands: Operands | None, threads: int, copied: str | None = None) -> Entry:
    """Multiply-adds, whatever the case, or copies within ``copied``."""
    if copied is None:
        call, work = ceilings.peak(threads)
    else:
        source, target = (empty((threads, COPIED[copied] // 4)) for _ in range(2))
        source.fill(1)
        call, work = ceilings.copying(source, target, COPIED["memory"] // COPIED[copied])
    return Entry(call, None, flops=work)

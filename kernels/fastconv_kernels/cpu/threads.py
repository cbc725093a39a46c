"""Threads: how many, when a loop may use them, and how work is shared among them.

A kernel divides its work by a rule that depends on the problem alone, never on who executes it, so that results have the
same bits for any number of threads.  That also makes it always right to run a loop on one thread instead of several, which
is what happens where several would not be safe: in a process forked after Numba's threads were started, and while another
Python thread is inside Numba's "workqueue" layer, which cannot be entered twice.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numba

_entered = threading.Lock()
_started_in: int | None = None
"""The process that first used Numba's threads."""


def available_threads() -> int:
    """The most threads that a kernel can use: Numba's pool, NUMBA_NUM_THREADS or the number of cores."""
    return int(numba.config.NUMBA_NUM_THREADS)


def runs_parallel() -> bool:
    """Whether this process may use Numba's threads: not if it was forked from one that did."""
    return _started_in is None or _started_in == os.getpid()


def parallel_launch(parallel: Any, serial: Any, arguments: tuple[Any, ...], threads: int) -> Any:
    """Call ``parallel`` on ``threads`` of Numba's threads, or ``serial`` where that would not be safe."""
    global _started_in
    if _started_in is None:
        with _entered:  # the first call chooses and starts the layer: alone
            result = _masked(parallel, arguments, threads)
            _started_in = os.getpid()
            return result
    if numba.threading_layer() != "workqueue":
        return _masked(parallel, arguments, threads)
    if not _entered.acquire(blocking=False):
        return serial(*arguments)
    try:
        return _masked(parallel, arguments, threads)
    finally:
        _entered.release()


def _masked(parallel: Any, arguments: tuple[Any, ...], threads: int) -> Any:
    """Run with Numba's thread mask at ``threads``, and put the caller's mask back."""
    before = numba.get_num_threads()
    if before == threads:
        return parallel(*arguments)
    numba.set_num_threads(threads)
    try:
        return parallel(*arguments)
    finally:
        numba.set_num_threads(before)

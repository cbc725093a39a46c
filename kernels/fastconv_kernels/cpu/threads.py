"""Threads: how many, when a loop may use them, and how work is shared among them.

A kernel divides its work by a rule that depends on the problem alone, never on who executes it, so that results have the
same bits for any number of threads.  That also makes it always right to run a loop on one thread instead of several, which
is what happens where several would not be safe: in a process forked from one in which Numba's threads, or anybody's GNU
OpenMP, had been started, and while another Python thread is inside Numba's "workqueue" layer, which cannot be entered twice.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llvmlite.binding.ffi as llvm
import numba
import numpy.ma  # noqa: F401 - Numba's first call imports it, and a process forked meanwhile would wait for that import for ever
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel as pool

_entered = threading.Lock()
"""Held while the threads are being started, and by whoever is inside the "workqueue" layer."""

_started = False
"""Whether this process has had a loop run on Numba's threads."""

_shared = False
"""Whether it has, and several Python threads may launch loops at the same time."""

_alone = False
"""Whether this process must do without threads, because of what its parent had done before the fork."""

_forked = False


def available_threads() -> int:
    """The most threads that a kernel can use: Numba's pool, NUMBA_NUM_THREADS or the number of cores."""
    return int(numba.config.NUMBA_NUM_THREADS)


def runs_parallel() -> bool:
    """Whether this process may use Numba's threads."""
    return not _alone


def parallel_launch(parallel: Any, serial: Any, arguments: tuple[Any, ...], threads: int) -> Any:
    """Call ``parallel`` on ``threads`` of Numba's threads, or ``serial`` where that would not be safe."""
    if _alone:
        return serial(*arguments)
    if _shared:
        return _masked(parallel, arguments, threads)
    return _first_launch(parallel, serial, arguments, threads)


def _first_launch(parallel: Any, serial: Any, arguments: tuple[Any, ...], threads: int) -> Any:
    """The first of this process, and each one on a layer that only one thread may enter at a time."""
    global _started, _shared, _alone
    if not _started:
        with _entered:  # the first call chooses and starts the layer: alone
            if _forked and not pool._is_initialized and _openmp_is_loaded():
                _alone = True
                return serial(*arguments)
            with _brief_spinning():
                numba.get_num_threads()  # which starts them
                result = _masked(parallel, arguments, threads)
            _started, _shared = True, pool.threading_layer() != "workqueue"
            return result
    if not _entered.acquire(blocking=False):
        return serial(*arguments)
    try:
        return _masked(parallel, arguments, threads)
    finally:
        _entered.release()


SPINS = "5000"
"""How often GNU OpenMP looks for work before a thread goes to sleep: for some 80 microseconds.

To wake a thread takes 30 to 50 microseconds, and in a network's step the next loop is seldom further away: with 500, LeNet-5's
takes 1.03 to 1.2 times as long.  GNU's own choice is several milliseconds.  On a machine with other work to do a thread then
spends its share of time waiting for one that is waiting for its share: loops of 0.2 ms took 8 to 27 ms beside four busy
processes.  Beside as many a step of 1 ms takes 1.5 to 8 ms with this as with a tenth of it.
"""


@contextmanager
def _brief_spinning() -> Iterator[None]:
    """GNU OpenMP reads its environment once, when it is loaded: give it ``SPINS`` unless the user has chosen."""
    if os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def _masked(parallel: Any, arguments: tuple[Any, ...], threads: int) -> Any:
    """Run with Numba's thread mask at ``threads``, and put the caller's mask back.

    Numba's own way to read it takes two locks, to see whether the threads have been started.
    """
    before = pool._get_num_threads()
    if before == threads:
        return parallel(*arguments)
    numba.set_num_threads(threads)
    try:
        return parallel(*arguments)
    finally:
        numba.set_num_threads(before)


def _openmp_is_loaded() -> bool:
    """Whether GNU OpenMP is in this process already: then the parent, as through PyTorch, may have started its threads.

    After a fork it waits for ever for threads that only the parent has, and there is no way to ask it.
    """
    try:
        return "libgomp" in Path("/proc/self/maps").read_text()
    except OSError:
        return False  # not Linux, where alone Numba uses GNU OpenMP


_LOCKS = (global_compiler_lock, pool._backend_init_thread_lock, llvm.lib._lock)
"""Numba's and LLVM's, in the order in which they are taken.

A child inherits locks as they are: one that another thread held at the fork would stay locked for ever.
"""


def _before_fork() -> None:
    for lock in _LOCKS:
        lock.__enter__()


def _after_fork() -> None:
    for lock in reversed(_LOCKS):
        lock.__exit__(None, None, None)


def _after_fork_in_child() -> None:
    global _entered, _started, _shared, _alone, _forked
    _after_fork()
    # Numba's threads may be the user's own doing; while the lock is held, another thread may be starting them this moment.
    _alone = _alone or pool._is_initialized or _entered.locked()
    _entered, _started, _shared, _forked = threading.Lock(), False, False, True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)

"""Threads and forks: right results and no hang on every threading layer of Numba, each in processes of its own."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import processes

LAYERS = ("omp", "workqueue", "tbb")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PRELUDE = """
import ctypes, json, multiprocessing, os, sys, threading, time
import numba
import numpy as np
from numba.np.ufunc import parallel as pool
import fastconv as fc

A = (np.arange(300 * 300, dtype=np.float32) % 7).reshape(300, 300)
B = (np.arange(300 * 300, dtype=np.float32) % 5).reshape(300, 300)
X = (np.arange(4 * 8 * 40 * 40, dtype=np.float32) % 5).reshape(4, 8, 40, 40)
W = (np.arange(16 * 8 * 3 * 3, dtype=np.float32) % 3 - 1).reshape(16, 8, 3, 3)
with fc.use(target="numpy"):
    PRODUCT, OUT = fc.matmul(A, B), fc.conv2d(X, W, padding=1)

def right():
    with fc.use(threads=4, target="cpu", accuracy="exact"):  # whole numbers: exact
        return bool(np.array_equal(fc.matmul(A, B), PRODUCT) and np.array_equal(fc.conv2d(X, W, padding=1), OUT))

def answer(**facts):
    print(json.dumps(facts | {"layer": pool.threading_layer() if pool._is_initialized else None}), flush=True)

def forked(work):
    "What a forked child says, as its exit status: 0 is right."
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]

@numba.njit(parallel=True)
def users_own(x):
    for i in numba.prange(x.size):
        x[i] += 1
    return x
"""


@cache
def why_absent(layer: str) -> str:
    """Why Numba cannot use a layer here; empty: it can."""
    script = """
import json, numba
@numba.njit(parallel=True)
def count(n):
    total = 0
    for i in numba.prange(n):
        total += i
    return total
try:
    assert count(10) == 45
    reason = ""
except ValueError as error:
    reason = str(error).splitlines()[0]
print(json.dumps(reason))
"""
    return str(processes.run(script, NUMBA_THREADING_LAYER=layer))


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> str:
    if reason := why_absent(request.param):
        pytest.skip(f"{request.param}: {reason}")
    return str(request.param)


def run(script: str, layer: str, **environment: object) -> Any:
    return processes.run(PRELUDE + script, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS=4, **environment)


def test_concurrent_calls(layer: str) -> None:
    script = """
wrong = []
def work():
    for _ in range(20):
        if not right():
            wrong.append(threading.current_thread().name)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
answer(wrong=wrong)
"""
    assert run(script, layer) == {"wrong": [], "layer": layer}


def test_concurrent_calls_leave_the_callers_number_of_threads(layer: str) -> None:
    script = """
numba.set_num_threads(3)
ok = right()
answer(ok=ok, threads=numba.get_num_threads())
"""
    assert run(script, layer) == {"ok": True, "threads": 3, "layer": layer}


@forks
def test_fork_after_calls(layer: str) -> None:
    script = """
before = right()
status = forked(right)
nested = forked(lambda: forked(right) == 0)
answer(before=before, status=status, nested=nested, after=right())
"""
    assert run(script, layer) == {"before": True, "status": 0, "nested": 0, "after": True, "layer": layer}


@forks
def test_fork_after_the_users_own_parallel_code(layer: str) -> None:
    script = """
users_own(np.zeros(1000))
answer(status=forked(right))
"""
    assert run(script, layer) == {"status": 0, "layer": layer}


@forks
def test_fork_before_any_call(layer: str) -> None:
    script = """
status = forked(lambda: right() and pool._is_initialized)
answer(status=status)
"""
    assert run(script, layer) == {"status": 0, "layer": None}


@forks
def test_forks_while_another_thread_computes(layer: str) -> None:
    script = """
stop, wrong = threading.Event(), []
def work():
    while not stop.is_set():
        if not right():
            wrong.append(1)
thread = threading.Thread(target=work)
thread.start()
statuses = {forked(right) for _ in range(10)}
stop.set()
thread.join()
answer(statuses=sorted(statuses), wrong=wrong)
"""
    assert run(script, layer) == {"statuses": [0], "wrong": [], "layer": layer}


@forks
def test_fork_while_another_thread_compiles(tmp_path: Path) -> None:
    script = """
from numba.core.compiler_lock import global_compiler_lock
thread = threading.Thread(target=right)
thread.start()
while global_compiler_lock._lock.acquire(blocking=False):  # until the other thread has it
    global_compiler_lock._lock.release()
    time.sleep(0.001)
status = forked(lambda: users_own.py_func(np.zeros(1))[0] == 1 and right())
thread.join()
answer(status=status, after=right())
"""
    assert run(script, "omp", FASTCONV_CACHE_DIR=tmp_path) == {"status": 0, "after": True, "layer": "omp"}


@forks
@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is what Numba uses on Linux alone")
def test_fork_after_somebody_elses_openmp() -> None:
    script = """
try:
    gomp = ctypes.CDLL("libgomp.so.1")
except OSError:
    answer(status="no libgomp")
else:
    region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
    gomp.GOMP_parallel(region, None, 4, 0)
    answer(status=forked(right))
"""
    answer = run(script, "omp")
    if answer["status"] == "no libgomp":
        pytest.skip("this system's GNU OpenMP cannot be loaded")
    assert answer == {"status": 0, "layer": None}


def test_kernels_release_the_gil() -> None:
    script = """
from fastconv_kernels.cpu.compile import serial
@serial
def spin(rounds):
    x = 0.0
    for i in range(rounds):
        x = x / 1.5 + i
    return x
rounds, seconds = 1_000_000, 0.0
spin(1)
ticks = []
def work():
    while not stop.is_set():
        ticks.append(time.perf_counter())
        time.sleep(0.001)
while seconds < 0.4:  # long enough for the other thread to be scheduled in the middle, however busy the machine is
    rounds *= 2
    ticks.clear()
    stop, thread = threading.Event(), threading.Thread(target=work)
    thread.start()
    start = time.perf_counter()
    spin(rounds)
    seconds = time.perf_counter() - start
    stop.set()
    thread.join()
middle = [tick for tick in ticks if start + seconds / 4 < tick < start + seconds * 3 / 4]
answer(progress=len(middle) > 0)
"""
    assert run(script, "workqueue")["progress"]


def test_every_kernel_is_compiled_without_the_gil() -> None:
    script = """
import gc, importlib, pkgutil
import fastconv_kernels
from numba.core.dispatcher import Dispatcher
for module in pkgutil.walk_packages(fastconv_kernels.__path__, "fastconv_kernels."):
    importlib.import_module(module.name)
compiled = [d for d in gc.get_objects() if isinstance(d, Dispatcher) and d.py_func.__module__.startswith("fastconv_kernels")]
entered = [d for d in compiled if not hasattr(d.py_func, "__wrapped__") and "<locals>" not in d.py_func.__qualname__]
held = [f"{d.py_func.__module__}.{d.py_func.__qualname__}" for d in entered if not d.targetoptions.get("nogil")]
answer(some=len(entered) > 10, held=held)
"""
    assert run(script, "workqueue") == {"some": True, "held": [], "layer": None}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str, layer: str, tmp_path: Path) -> None:
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    program = tmp_path / "program.py"  # what is spawned imports the main program again, which must be a file
    program.write_text(
        PRELUDE
        + f"""
def work(_):
    return right()
if __name__ == "__main__":
    before = right()
    with multiprocessing.get_context("{method}").Pool(2) as workers:
        answer(before=before, results=workers.map(work, range(4)), after=right())
"""
    )
    script = f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')"
    answer = processes.run(script, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS=4)
    assert answer == {"before": True, "results": [True] * 4, "after": True, "layer": layer}

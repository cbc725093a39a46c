"""A process that measures: ``python -m fastconv.bench.serve THREADS`` answers pickled requests on standard input one by one.

It has ("prepare", case, contestants, seconds), after which the contestants have been verified, ("sample", name): the seconds
of one call, and ("grown", case, contestant): the memory of one.  Whoever asks decides whose turn it is.
"""

from __future__ import annotations

import gc
import os
import pickle
import re
import signal
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import sleep
from typing import Any, BinaryIO

import numpy as np

from fastconv.bench import timing
from fastconv.bench.cases import Case
from fastconv.bench.contestants import OPENMP_SPINS, Answer, Contestant, Entry, library
from fastconv.bench.contestants.operands import Operands
from fastconv.memory import forget_choices

JUDGE_SPINS = OPENMP_SPINS
"""Of PyTorch, which says what is right."""


def expected(case: Case, operands: Operands) -> Any:
    """The right result: PyTorch's where it is there and has it, else that of the last kernel of the table, the reference."""
    entry = None
    if find_spec("torch") and case.operator != "stream":
        entry = library("pytorch").entry(case, operands, 1, layout="NCHW")
    if entry is None:
        entry = library("ours").entry(case, operands, 1, algorithm="reference")
    return np.array(entry.result(entry.call()))


class Desk:
    """The contestants of the case in hand."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.entries: dict[str, tuple[Entry, int]] = {}

    def prepare(self, case: Case | None, contestants: Sequence[Contestant], seconds: float) -> dict[str, Answer]:
        """Make, verify and rehearse every contestant that takes the case, and wait until their threads are asleep."""
        self.entries.clear()
        made: dict[bool, tuple[Operands | None, Any]] = {}
        for subnormal in {contestant.subnormal for contestant in contestants}:
            operands = None if case is None else Operands(case, subnormal)
            made[subnormal] = operands, None if case is None or operands is None else expected(case, operands)
        answers = {}
        for contestant in contestants:
            operands, right = made[contestant.subnormal]
            try:
                entry = library(contestant.library).entry(case, operands, self.threads, **contestant.options)
                if entry is None:
                    continue
                if entry.result is not None:
                    verify(entry, right)
                self.entries[contestant.name] = entry, timing.calls_for(entry.call, seconds)
                answers[contestant.name] = Answer(entry.kernel, entry.flops)
            except Exception as error:  # noqa: BLE001 - whatever a contestant dies of, the others go on
                answers[contestant.name] = Answer(failed=f"{type(error).__name__}: {error}".splitlines()[0])
        self._rest(max([JUDGE_SPINS, *(entry.spins for entry, _ in self.entries.values())]))
        return answers

    def sample(self, name: str) -> float:
        """Seconds of one call."""
        entry, calls = self.entries[name]
        seconds = timing.repeat(entry.call, calls) / entry.steps
        self._rest(entry.spins)
        return seconds

    def _rest(self, spins: float) -> None:
        """Leave the cores to others until threads that look for work for so long have gone to sleep."""
        sleep(spins if self.threads > 1 else 0)

    def grown(self, case: Case, contestant: Contestant) -> int | None:
        """Bytes by which the process grew at most in making and calling an entry, its operands and its result not counted."""
        make = partial(library(contestant.library).entry, threads=self.threads, **contestant.options)
        rehearsal = make(case, Operands(case))
        if rehearsal is None:
            return None
        rehearsal.call()  # loads all code, and starts threads
        del rehearsal
        operands = Operands(case)
        make(case, operands)  # the operands are there from now on, and everything else is gone
        forget_choices()
        gc.collect()
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        entry = make(case, operands)
        result = entry.result(entry.call())
        nbytes: int = result.nbytes
        return max(0, _resident("VmHWM") - before - nbytes)


def _resident(name: str) -> int:
    """Bytes of memory that the process holds, or held at most."""
    found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def verify(entry: Entry, right: Any) -> None:
    """Compare what a contestant computes with what is right."""
    assert entry.result is not None
    got = entry.result(entry.call())
    error, scale = float(np.abs(got - right).max(initial=0)), float(np.abs(right).max(initial=0))
    if got.shape != right.shape or not error <= entry.tolerance * scale:
        raise AssertionError(f"wrong: it differs by {error:.1e} where the largest result is {scale:.1e}")


def serve(requests: BinaryIO, replies: BinaryIO, threads: int) -> None:
    """Answer until there are no more requests."""
    desk = Desk(threads)
    while True:
        try:
            name, *arguments = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(getattr(desk, name)(*arguments), replies)
        replies.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks, who then closes this input
    answering = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    serve(sys.stdin.buffer, answering, int(sys.argv[1]))

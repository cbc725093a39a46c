"""Processes that measure, as seen from the one that asks: each has its contestants' environment and threads to itself."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from fastconv.bench import timing
from fastconv.bench.cases import Case
from fastconv.bench.contestants import Answer, Contestant
from fastconv.errors import MeasurementError

THREAD_VARIABLES = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


NOISY = 0.25
"""Of the median, by which samples of the same call may differ."""


class Worker:
    """One process of ``fastconv.bench.serve``."""

    def __init__(self, threads: int, environment: Mapping[str, str]) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastconv.bench.serve", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**inherited, **dict.fromkeys(THREAD_VARIABLES, str(threads)), **environment},
        )

    def ask(self, *request: Any) -> Any:
        """The answer to a request.

        Raises
        ------
        MeasurementError
            The process has died; it has said why on standard error.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            pickle.dump(request, self.process.stdin)
            self.process.stdin.flush()
            return pickle.load(self.process.stdout)
        except (EOFError, BrokenPipeError):
            raise MeasurementError(f"a measuring process ended with status {self.process.wait()}") from None

    def end(self) -> None:
        """Close its input, at which it ends."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Field:
    """The contestants of a suite in their processes, which are started when first needed.

    With one thread all that want the same environment share a process; with more each library has its own, for their
    threads disturb each other.
    """

    def __init__(self, contestants: Iterable[Contestant], threads: int) -> None:
        self.threads = threads
        self._places: dict[tuple[tuple[tuple[str, str], ...], str], list[Contestant]] = {}
        for contestant in contestants:
            library = contestant.library.replace("ceiling", "ours") if threads > 1 else ""
            place = tuple(sorted(contestant.environment.items())), library
            self._places.setdefault(place, []).append(contestant)
        self._workers: dict[Any, Worker] = {}

    def measure(self, case: Case | None, rounds: int, seconds: float) -> tuple[dict[str, Answer], dict[str, list[float]]]:
        """What became of the contestants, and the seconds of one call in each round of those that did not fail.

        Where samples of somebody differ by more than ``NOISY`` all are taken once more, and the calmer ones count.
        """
        answers: dict[str, Answer] = {}
        samples: dict[str, Callable[[], float]] = {}
        for place, contestants in self._places.items():
            if place not in self._workers:
                self._workers[place] = Worker(self.threads, dict(place[0]))
            worker = self._workers[place]
            found = worker.ask("prepare", case, contestants, seconds)
            answers |= found
            samples |= {name: partial(worker.ask, "sample", name) for name, answer in found.items() if not answer.failed}
        first = timing.interleaved(samples, rounds)
        if _noise(first) <= NOISY:
            return answers, first
        return answers, min(first, timing.interleaved(samples, rounds), key=_noise)

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers.values():
            worker.end()


def _noise(samples: Mapping[str, list[float]]) -> float:
    """Of the noisiest."""
    return max(map(timing.spread, samples.values()), default=0.0)

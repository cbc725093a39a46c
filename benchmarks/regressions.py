"""Whether ``fastconv bench --compare`` finds a slower kernel, and nothing else: ``python -m benchmarks.regressions``.

Convolutions are measured again and again on the same tree: two sessions of it must not differ,
and a third, with the calls of one algorithm made to take 20% longer, must differ in the kernels of that algorithm alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any
from unittest.mock import patch

from fastconv.bench import comparison, session, workers
from fastconv.bench.cases import Case
from fastconv.bench.contestants import Answer
from fastconv.bench.serve import Desk

SLOWED = 1.2
"""How many times as long a slowed call takes."""


class SlowedDesk(Desk):
    """In this process, with the calls of one algorithm slowed."""

    algorithm = ""

    def __init__(self, threads: int, environment: object) -> None:
        super().__init__(threads)

    def ask(self, request: str, *arguments: Any) -> Any:
        """As a process that measures is asked."""
        return getattr(self, request)(*arguments)

    def prepare(self, case: Case | None, *others: Any) -> dict[str, Answer]:
        answers = super().prepare(case, *others)
        for name, answer in answers.items():
            if self.algorithm and f"__{self.algorithm}_cpu" in answer.kernel:
                entry, _ = self.entries[name]
                entry.call = slowed(entry.call)
        return answers

    def end(self) -> None:
        """Nothing: there is no process to end."""


def slowed(call: Callable[[], Any]) -> Callable[[], Any]:
    """``call``, after which time is spent."""

    def longer() -> Any:
        start = perf_counter()
        result = call()
        end = start + SLOWED * (perf_counter() - start)
        while perf_counter() < end:
            pass
        return result

    return longer


@contextmanager
def in_this_process(algorithm: str) -> Iterator[None]:
    """Measure here rather than in processes of their own, ``algorithm`` slowed; the empty string: none."""
    with patch.object(workers, "Worker", SlowedDesk), patch.object(SlowedDesk, "algorithm", algorithm):
        yield


def measured(request: session.Request, algorithm: str = "") -> list[session.Row]:
    """The rows of a session."""
    with in_this_process(algorithm):
        return [row for part in session.parts(request) for row in session.rows(part, request.quick)]


def main(words: list[str]) -> int:
    """Try it several times; 0: every time as it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regressions", description=__doc__)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--algorithm", default="implicit_gemm", help="which is slowed (default: implicit_gemm)")
    parser.add_argument("--shapes", help='instead of the quick ones: "n8 c64 28x28 k64 3x3 p1,…"')
    arguments = parser.parse_args(words)
    shapes = tuple(arguments.shapes.split(",")) if arguments.shapes else ()
    request = session.Request(("conv",), shapes, ("forward",), against=(), quick=True)
    good = 0
    for number in range(1, arguments.tries + 1):
        first, second, third = measured(request), measured(request), measured(request, arguments.algorithm)
        false = [change.name for change in comparison.compared(first, second) if change.slower]
        found = [change.kernel for change in comparison.compared(second, third) if change.slower]
        right = {kernel for row in third for kernel in row["kernels"].values() if f"__{arguments.algorithm}_cpu" in kernel}
        good += not false and {kernel.rpartition(" ")[2] for kernel in found} == right
        print(
            f"{number}: on the same tree slower: {false or 'nothing'}; with {right} slowed: {found or 'nothing'}", flush=True
        )
    print(f"{good} of {arguments.tries} tries as they should be")
    return 0 if good == arguments.tries else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Measuring: every algorithm that can compute a problem, verified, then timed in turns; the winners are kept for this machine.

What is timed is the public call, as a caller meets it: with the weights packed and the images converted where the kernel wants
another layout.  ``dispatch`` then takes the fastest of those that a call admits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from . import dispatch, functional, winners
from .dispatch import Conv, ConvPool, Matmul, Settings
from .errors import ArgumentError, FastconvError

ROUNDS = 7
"""Each algorithm has its turn in each; the median counts."""

SAMPLE_SECONDS = 0.02
"""A turn: calls are repeated until they have taken as long."""

TOLERANCE = 1e-3
"""Of the largest number of the result: far above any kernel's rounding, far below what a wrong one does."""


class WrongResult(FastconvError):
    """A kernel's result is not the reference's: it is not timed, and not chosen."""


@dataclass(frozen=True)
class Tuned:
    """What was measured for one problem.

    Attributes
    ----------
    operator, direction : str
    problem
    threads : int
    accuracy : str
    before : str
        The algorithm that would have been chosen without measuring.
    seconds : dict of str to float
        Of each algorithm, fastest first.
    """

    operator: str
    direction: str
    problem: Any
    threads: int
    accuracy: str
    before: str
    seconds: dict[str, float]

    @property
    def winner(self) -> str:
        return next(iter(self.seconds))

    @property
    def gain(self) -> float:
        """How many times as fast the winner is as what would have been chosen."""
        return self.seconds[self.before] / self.seconds[self.winner]

    @property
    def key(self) -> str:
        return winners.key(self.operator, self.direction, self.problem, self.threads, self.accuracy)


def tune(
    problems: Iterable[tuple[str, str, Any]], threads: int | None = None, accuracy: str = "fast", rounds: int = ROUNDS
) -> Iterator[Tuned]:
    """Measure and keep, problem by problem: what is finished stays if the rest is interrupted.

    Parameters
    ----------
    problems : of (operator, direction, problem)
        Convolutions in their three directions, with a pooling after them forward, and matrix products; those that only one
        kernel computes are passed over.
    threads : int, optional
        All that there are, unless given.  Winners count for calls with the same number.
    accuracy : "fast", "precise" or "exact"
        Winners count for calls that ask for the same.

    Yields
    ------
    Tuned
        After it was written to the table.

    Raises
    ------
    ArgumentError
        The table cannot be written; before anything is measured.
    WrongResult
        With the kernel's name.
    """
    file = winners.check_writable(dispatch.tuning_file())
    request = Settings(threads=threads, accuracy=accuracy).checked()
    for operator, direction, problem in problems:
        if not tunable(operator, direction):
            raise ArgumentError(f"problems: expected some of {', '.join(CALLS)}, got {operator!r} {direction}")
        found = measure(operator, direction, problem, request, rounds)
        if found is not None:
            winners.keep(file, {found.key: found.seconds})
            dispatch.forget_choices()
            yield found


def measure(operator: str, direction: str, problem: Any, request: Settings, rounds: int = ROUNDS) -> Tuned | None:
    """Time the algorithms that can compute ``problem`` as ``request`` wants it; None: there is no choice.

    Raises
    ------
    WrongResult
        Before anything is timed.
    """
    able = dispatch.candidates(operator, direction, problem, request)
    if len(able) < 2:
        return None
    with dispatch.use(threads=request.threads, accuracy=request.accuracy):
        call, out = CALLS[operator](direction, problem)
        _verify(call, out, able)
        samples: dict[str, list[float]] = {kernel.algorithm: [] for kernel in able}
        for _ in range(rounds):
            for algorithm, times in samples.items():
                times.append(_seconds(call, algorithm))
    fastest_first = sorted((median(times), algorithm) for algorithm, times in samples.items())
    return Tuned(
        operator,
        direction,
        problem,
        request.threads or dispatch.all_threads(),
        request.accuracy or "fast",
        dispatch.ranked_choice(operator, direction, problem, request).algorithm,
        {algorithm: seconds for seconds, algorithm in fastest_first},
    )


def _seconds(call: Callable[[str], object], algorithm: str) -> float:
    """Of one call."""
    calls, start = 0, perf_counter()
    while (elapsed := perf_counter() - start) < SAMPLE_SECONDS:
        call(algorithm)
        calls += 1
    return elapsed / calls


def _verify(call: Callable[[str], object], out: Any, able: list[dispatch.Kernel]) -> None:
    """Compare each result with the reference's."""
    call("reference")
    expected = out.copy()
    limit = TOLERANCE * float(np.abs(expected).max(initial=0))
    for kernel in able:
        out.fill(np.nan)
        call(kernel.algorithm)
        if not np.allclose(out, expected, rtol=0, atol=limit):
            raise WrongResult(f"{kernel.name}: its result is WRONG, off by {np.abs(out - expected).max():.3g}")


# ------------------------------------------------------------------------- operators: a call that writes into the same array


def _noise(shape: tuple[int, ...], dtype: str) -> Any:
    return np.random.default_rng(prod(shape)).standard_normal(shape).astype(dtype)


def _convolution(direction: str, problem: Conv) -> tuple[Callable[[str], object], Any]:
    window = (problem.stride, problem.padding, problem.dilation, problem.groups)
    shapes = {"forward": problem.out_shape, "backward_input": problem.x_shape, "backward_weight": problem.weight_shape}
    out: Any = np.empty(shapes[direction], problem.dtype)
    x, weight, grad = (_noise(shape, problem.dtype) for shape in (problem.x_shape, problem.weight_shape, problem.out_shape))
    layout = problem.layout

    def call(algorithm: str) -> None:
        if direction == "forward":
            functional.conv2d(x, weight, None, *window, layout=layout, out=out, algorithm=algorithm)
        elif direction == "backward_input":
            functional.conv2d_backward_input(
                grad, weight, problem.x_shape, *window, layout=layout, out=out, algorithm=algorithm
            )
        else:
            functional.conv2d_backward_weight(
                grad, x, problem.weight_shape, *window, layout=layout, out=out, algorithm=algorithm
            )

    return call, out


def _product(_direction: str, problem: Matmul) -> tuple[Callable[[str], object], Any]:
    a, b = _noise((problem.M, problem.K), problem.dtype), _noise((problem.K, problem.N), problem.dtype)
    out: Any = np.empty((problem.M, problem.N), problem.dtype)
    return lambda algorithm: functional.matmul(a, b, out=out, algorithm=algorithm), out


def _pooled(direction: str, problem: ConvPool) -> tuple[Callable[[str], object], Any]:
    """Forward, as a network's layer has it: with plans that are kept, and weights packed before."""
    x, weight = _noise(problem.x_shape, problem.dtype), _noise(problem.weight_shape, problem.dtype)
    out: Any = np.empty(problem.out_shape, problem.dtype)
    positions = np.empty(problem.out_shape, np.uint8)
    plans: dict[str, tuple[Any, Any]] = {}

    def call(algorithm: str) -> None:
        if algorithm not in plans:
            plan = dispatch.plan_for("conv_pool", direction, problem, algorithm=algorithm)
            plans[algorithm] = plan, plan.pack(weight)
        plan, packed = plans[algorithm]
        plan(x, packed, out, positions)

    return call, out


CALLS: dict[str, Callable[[str, Any], tuple[Callable[[str], object], Any]]] = {
    "conv": _convolution,
    "matmul": _product,
    "conv_pool": _pooled,
}
"""Of each operator that several kernels compute: makes a call for (direction, problem), and the array that it writes."""


def tunable(operator: str, direction: str) -> bool:
    """Whether ``tune`` measures it.

    The gradients beneath a pooling are left out: what they compete with is no kernel of their own table, but those of the
    convolution without the pooling.
    """
    return operator in CALLS and (operator != "conv_pool" or direction == "forward")

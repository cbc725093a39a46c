"""The code that computes a call: its source, its machine code on the CPU, and what a GPU would be given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import fastconv_kernels
from fastconv_kernels.cpu import machine_code
from fastconv_kernels.registry import Kernel

from ..devices import missing_packages
from ..errors import TargetUnavailableError
from .rehearsal import nowhere, rehearse

ROOT = Path(fastconv_kernels.__file__).parent


@dataclass(frozen=True, eq=False)
class Part:
    """A function that a call has run: a kernel has one or several, one after the other.

    Attributes
    ----------
    name, place : str
        Of its source, place as "fastconv_kernels/conv/direct_cpu.py:100".
    threads : int
    """

    name: str
    place: str
    threads: int
    _function: Any
    _arguments: tuple[Any, ...]

    @cached_property
    def assembly(self) -> str:
        """Its machine code as text, with that of all it calls."""
        return machine_code.assembly(self._function.compiled(*self._arguments))

    def sources(self) -> Iterator[tuple[str, str]]:
        """(place, source) of it and of every function of the kernels that it calls, the callers first."""
        for function in _called(self._function.serial.py_func):
            yield _place(function), inspect.getsource(function)


def parts(call: Callable[[], object]) -> list[Part]:
    """What ``call`` runs on the CPU, in order; it is called once."""
    return [
        Part(function.__name__, _place(function.serial.py_func), arguments[-1], function, arguments)
        for function, arguments in machine_code.watched(call)
    ]


def _place(function: Any) -> str:
    code = function.__code__
    return f"{Path(code.co_filename).relative_to(ROOT.parent).as_posix()}:{code.co_firstlineno}"


def _called(function: FunctionType) -> list[FunctionType]:
    """``function`` and all that it calls, directly or not, as far as it is written in this package's Python."""
    found = [function]
    for caller in found:  # which grows
        for name in caller.__code__.co_names:
            callee = caller.__globals__.get(name)
            callee = getattr(callee, "py_func", callee)
            if isinstance(callee, FunctionType) and callee not in found and ROOT in Path(callee.__code__.co_filename).parents:
                found.append(callee)
    return found


# ------------------------------------------------------------------------------------------------------------------- CUDA

ARCHITECTURE = "sm_80"
"""What a kernel is shown for: the oldest that all of them run on."""

ARGUMENTS: dict[tuple[str, str], Callable[[Any, Any], tuple[Any, ...]]] = {
    ("conv", "forward"): lambda p, plan: (nowhere(*p.x_shape), plan.pack(nowhere(*p.weight_shape)), nowhere(*p.out_shape)),
    ("conv", "backward_input"): lambda p, plan: (
        nowhere(*p.out_shape),
        plan.pack(nowhere(*p.weight_shape)),
        nowhere(*p.x_shape),
    ),
    ("conv", "backward_weight"): lambda p, _: (nowhere(*p.out_shape), nowhere(*p.x_shape), nowhere(*p.weight_shape)),
    ("matmul", "forward"): lambda p, _: (nowhere(p.M, p.K), nowhere(p.K, p.N), nowhere(p.M, p.N)),
    ("pool", "forward"): lambda p, _: (nowhere(*p.x_shape), nowhere(*p.out_shape)),
    ("pool", "backward_input"): lambda p, _: (nowhere(*p.out_shape), *_places(p), nowhere(*p.x_shape)),
}
"""What a plan of an operator's direction is called with; all kernels for CUDA compute in float32."""


def _places(pool: Any) -> tuple[Any, ...]:
    """Of the maxima, for a gradient that needs them."""
    return (nowhere(*pool.out_shape, dtype="int64"),) if pool.mode == "max" else ()


def ptx(kernel: Kernel, problem: Any) -> list[str]:
    """The PTX of every kernel that a plan for CUDA starts; neither a GPU nor a driver is needed.

    Raises
    ------
    TargetUnavailableError
        What compiles for CUDA is not installed.
    """
    if missing := missing_packages():
        raise TargetUnavailableError(missing)
    own = kernel.in_layout(problem)
    arguments, plan = ARGUMENTS[kernel.operator, kernel.direction], kernel.plan(own, 1)
    build = import_module("fastconv_kernels.cuda.build")
    started = rehearse(lambda: plan(*arguments(own, plan)), ARCHITECTURE)
    return [build.compiled(each, ARCHITECTURE, "ptx") for each in started]

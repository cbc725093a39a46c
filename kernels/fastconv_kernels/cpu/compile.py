"""The ways in which a kernel's functions are compiled.

``serial``    a function that Python calls, on its thread, without the GIL, kept on disk
``jit``       a function of its own that only other compiled functions call
``alone``     the same, which the optimiser keeps out of its callers
``inlined``   the body of an inner loop: its vectors must stay in registers and never cross a call
``threaded``  a loop over threads, compiled for one thread or for several as it is called
``filled``    the same loop around different bodies
``apart``     what is given to a function shares no memory with what it writes

No function checks for division by zero in the way of the optimiser, and none reorders floating-point sums unless it says so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

from numba import njit

from .cache import KernelCache
from .linked import GradualCompiler, KernelCompiler, LinkedDispatcher, executable, restored
from .threads import parallel_launch, runs_parallel

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False, "forceinline": False}
"""All of them, or a function would have the others of whoever calls it first."""

EXECUTABLE: dict[str, Any] = {"pipeline_class": KernelCompiler, "no_cfunc_wrapper": True}
"""Of what Python calls; nothing is called from C."""


def _cached(dispatcher: Any) -> Any:
    dispatcher._cache = KernelCache(dispatcher.py_func, executable)
    return dispatcher


def serial(function: Callable[..., Any]) -> Any:
    """Compile ``function`` without the GIL and keep the machine code on disk."""
    return _cached(njit(**OPTIONS, **EXECUTABLE)(function))


def looking(function: Callable[..., Any], *examples: Any) -> Any:
    """``function`` for arguments of such types, which reads Python's objects: with the GIL, so that they stay as they are."""
    dispatcher = _cached(njit(**{**OPTIONS, "nogil": False}, **EXECUTABLE)(function))
    return dispatcher.compile(_kinds(dispatcher, examples))


def jit(function: Callable[..., Any]) -> Any:
    """Compile ``function`` as one of its own for other compiled functions."""
    return _linked(function)


def _linked(function: Any, **options: Any) -> Any:
    dispatcher = LinkedDispatcher(function, {"nopython": True, **OPTIONS, **options})
    dispatcher._cache = KernelCache(function, restored)
    return dispatcher


def alone(function: Callable[..., Any]) -> Any:
    """Compile ``function`` as one of its own that stays so: an inner loop which finds too few registers beside outer ones."""
    dispatcher = _linked(function)
    dispatcher._compiler.alone = True
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """Compile ``function`` into each of its callers."""
    return _linked(function, forceinline=True)


def apart(dispatcher: Any) -> Any:
    """Promise LLVM that no array or address given to the function shares memory with one that it writes.

    Numba promises that for the body of a parallel loop only.  Without it every vectorised loop begins by comparing
    addresses: with 32 channels that takes longer than the loop.  The promise is a function's own: a loop in
    an ``inlined`` one needs it there.  Element for element in place, output the same array as input, remains right: no
    element depends on another.
    """
    if isinstance(dispatcher, LinkedDispatcher):
        dispatcher._compiler.noalias = True
    else:
        dispatcher._compiler._customize_flags = _without_aliases
    return dispatcher


def _without_aliases(flags: Any) -> Any:
    flags.noalias = True
    return flags


watchers: list[Callable[[Any, tuple[Any, ...]], object]] = []
"""Each is told of every call of a ``threaded`` function, with its arguments, by whoever wants to know what runs."""


class threaded:
    """A function whose last parameter is the number of threads and whose body is ``for thread in prange(threads)``.

    Called with one thread it runs as plain compiled code, which costs less to compile and nothing to start; with more it
    runs on Numba's threads.  Either way thread ``t`` of ``threads`` does the same work in the same order.

    Subnormal numbers count as zero in it (``subnormals.py``), unless it is ``gradual``.
    """

    def __init__(self, function: Callable[..., Any], gradual: bool = False) -> None:
        assert isinstance(function, FunctionType)
        options = OPTIONS | EXECUTABLE | ({"pipeline_class": GradualCompiler} if gradual else {})
        # The cache tells functions apart by name and line, not by options: the second needs a name of its own.
        twin = FunctionType(
            function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
        )
        twin.__qualname__ = function.__qualname__ + "_parallel"
        twin.__module__ = function.__module__
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.serial = apart(_cached(njit(**options)(function)))
        self.parallel = _cached(njit(**options, parallel=True)(twin))

    def __call__(self, *arguments: Any) -> Any:
        threads = arguments[-1]
        for tell in watchers:
            tell(self, arguments)
        if threads > 1:
            return parallel_launch(self.parallel, self.serial, arguments, threads)
        return self.serial(*arguments)

    def compiled(self, *examples: Any) -> Any:
        """Numba's result of compiling it for arguments of these types, which it does if that has not been done."""
        dispatcher = self.parallel if examples[-1] > 1 and runs_parallel() else self.serial
        kinds = _kinds(dispatcher, examples)
        dispatcher.compile(kinds)
        return dispatcher.overloads[kinds]

    def bound(self, *examples: Any) -> Callable[..., Any]:
        """Itself for arguments of the types that ``examples`` have: what is called does not look at types again.

        To find out the types of three arrays and a tile takes longer than a product of 32 x 32 matrices.  Whoever calls it
        vouches for dtype, axes and order of every array; a read-only one is as good as another.
        """
        threads = examples[-1]
        for tell in watchers:
            tell(self, examples)
        if threads == 1:
            code: Callable[..., Any] = self.serial.compile(_kinds(self.serial, examples))
            return code
        # Compiled where it may run: compiling or loading a parallel loop starts threads.
        parallel, alone = (_when_called(which, _kinds(which, examples)) for which in (self.parallel, self.serial))

        def call(*arguments: Any) -> Any:
            return parallel_launch(parallel, alone, arguments, threads)

        return call


def _when_called(dispatcher: Any, kinds: tuple[Any, ...]) -> Callable[..., Any]:
    """``dispatcher`` for arguments of these types, compiled at the first call."""
    code: Any = None

    def call(*arguments: Any) -> Any:
        nonlocal code
        if code is None:
            code = dispatcher.compile(kinds)
        return code(*arguments)

    return call


def of_one_kind(function: Any) -> Callable[..., Any]:
    """A ``serial`` or ``threaded`` function for a caller whose arguments have the same types each time.

    They are looked at in the first call alone: with a tile and a plan's lengths among them that takes one to three
    microseconds.  The caller vouches for them, as for ``threaded.bound``.
    """
    code: Any = None

    def call(*arguments: Any) -> Any:
        nonlocal code
        if code is None:
            code = _code(function, arguments)
        elif watchers and isinstance(function, threaded):
            for tell in watchers:
                tell(function, arguments)
        return code(*arguments)

    return call


def _code(function: Any, examples: tuple[Any, ...]) -> Any:
    return function.bound(*examples) if isinstance(function, threaded) else function.compile(_kinds(function, examples))


def _kinds(dispatcher: Any, examples: tuple[Any, ...]) -> tuple[Any, ...]:
    """The types of ``examples``."""
    return tuple(dispatcher.typeof_pyval(example) for example in examples)


@cache
def filled(pattern: FunctionType, body: Callable[..., Any], gradual: bool = False) -> threaded:
    """A threaded function: the loop ``pattern``, in which the global name ``body`` stands for the function ``body``."""
    scope = {**pattern.__globals__, "body": inlined(body)}
    loop = FunctionType(pattern.__code__, scope, f"{pattern.__name__}_{body.__name__}")
    loop.__module__, loop.__qualname__ = pattern.__module__, loop.__name__  # Numba's cache tells them apart by this name
    return threaded(loop, gradual)

"""The code that runs, for ``fastconv explain --source --asm --ptx``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import choice, dispatch, nn, tuning
from fastconv.dispatch import Settings
from fastconv.errors import TargetUnavailableError, UnsupportedError
from fastconv.functional import anatomy
from fastconv.instructions import main_loop

Asked = tuple[str, str, Any]
"""Operator, direction and problem."""


@dataclass(frozen=True, eq=False)
class Code:
    """What a call runs.

    Attributes
    ----------
    name : str
        Of the kernel, or of the model.
    asked : sequence of (operator, direction, problem)
        What it computes.
    call : callable or None
        It, once, on noise; None: nothing is compiled for the CPU.
    """

    name: str
    asked: Sequence[Asked]
    call: Callable[[], object] | None

    @cached_property
    def parts(self) -> list[anatomy.Part]:
        """The functions that run on the CPU, in order."""
        if self.call is None:
            return []
        dispatch.forget_choices()  # plans that are there already have settled what they call
        return anatomy.parts(self.call)

    def source(self) -> Iterator[str]:
        """Of every function that runs, with where it is written."""
        seen = set()
        for part in self.parts:
            for place, text in part.sources():
                if place not in seen:
                    seen.add(place)
                    yield f"  # {place}\n{text}"
        if not seen:
            yield f"  {self.name}: nothing is compiled for the CPU"

    def asm(self) -> Iterator[str]:
        """The main loop of every function that runs, and what it consists of."""
        for part in self.parts:
            yield f"  {part.name} ({part.place}), {part.threads} thread(s): {_loop(part.assembly)}"
        if not self.parts:
            yield f"  {self.name}: nothing is compiled for the CPU"

    def ptx(self) -> Iterator[str]:
        """The same of the kernels that a GPU would be given for convolutions, matrix products and poolings."""
        for operator, direction, problem in dict.fromkeys(self.asked):
            if (operator, direction) in anatomy.ARGUMENTS:
                yield from _ptx(operator, direction, problem)


SHOWN = {"source": Code.source, "asm": Code.asm, "ptx": Code.ptx}
"""Option → the lines that it shows."""


def of_problem(asked: Asked, chosen: str | None) -> Code:
    """What the kernel ``chosen`` runs for a problem."""
    operator, direction, problem = asked
    if chosen is None or not chosen.endswith("_cpu"):
        return Code(chosen or "no kernel", [asked], None)
    call, _ = CALLS[operator](direction, problem)
    algorithm = chosen.partition("__")[2].removesuffix("_cpu")
    return Code(chosen, [asked], lambda: call(algorithm))


def of_model(name: str, model: nn.Sequential, asked: Sequence[Asked], batch: int, training: bool) -> Code:
    """What the layers of a model run for ``batch`` images: each function once, as it is first called."""
    images = np.random.default_rng(0).random((batch, *model.network.input_shape), dtype=np.float32)
    if not training:
        return Code(name, asked, lambda: model.predict(images, batch))
    model.compile("adam")
    return Code(name, asked, lambda: model.fit(images, np.zeros(batch, int), 1, batch, verbose=0))


def _ptx(operator: str, direction: str, problem: Any) -> Iterator[str]:
    try:
        kernel = choice.selected(operator, direction, problem, Settings(target="cuda"))
    except UnsupportedError as error:
        yield f"  no kernel for CUDA computes it: {error}"
        return
    try:
        for text in anatomy.ptx(kernel, problem):
            yield f"  {kernel.name} for {anatomy.ARCHITECTURE}: {_loop(text)}"
    except TargetUnavailableError as error:
        yield f"  {kernel.name}: its PTX is left out: {error}"


def _pooling(direction: str, problem: Any) -> tuple[Callable[[str], object], Any]:
    """The public call and the array that it writes, as ``tuning.CALLS`` has them."""
    window = {"stride": problem.stride, "padding": problem.padding, "layout": problem.layout, "ceil_mode": problem.ceil}
    size, out = (problem.R, problem.S), np.empty(problem.out_shape, problem.dtype)
    x, grad = np.zeros(problem.x_shape, problem.dtype), np.zeros(problem.out_shape, problem.dtype)
    places = np.zeros(problem.out_shape, np.int64)
    calls: dict[tuple[str, str], Callable[[], object]] = {
        ("max", "forward"): lambda: fc.max_pool2d(x, size, dilation=problem.dilation, out=out, **window),
        ("average", "forward"): lambda: fc.avg_pool2d(x, size, out=out, **window),
        ("max", "backward_input"): lambda: fc.max_pool2d_backward(
            grad, places, problem.x_shape, kernel_size=size, dilation=problem.dilation, out=x, **window
        ),
        ("average", "backward_input"): lambda: fc.avg_pool2d_backward(grad, problem.x_shape, size, out=x, **window),
    }

    def call(algorithm: str) -> None:
        with fc.use(algorithm=algorithm):
            calls[problem.mode, direction]()

    return call, out


CALLS = tuning.CALLS | {"pool": _pooling}


def _loop(text: str) -> str:
    loop = main_loop(text)
    return "no loop" if loop is None else "\n".join([f"main loop of {loop}", *loop.lines])

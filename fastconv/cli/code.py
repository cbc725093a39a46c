"""The code that runs, for ``fastconv explain --source --asm --ptx``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastconv import choice, dispatch, instructions, tuning
from fastconv.dispatch import Settings
from fastconv.errors import TargetUnavailableError, UnsupportedError
from fastconv.functional import anatomy

OPERATOR = "conv"


def source(problem: Any, direction: str, chosen: str | None) -> Iterator[str]:
    """Of every function that runs, with where it is written."""
    seen = set()
    for part in _parts(problem, direction, chosen):
        for place, text in part.sources():
            if place not in seen:
                seen.add(place)
                yield f"  # {place}\n{text}"
    if not seen:
        yield _nothing_compiled(chosen)


def asm(problem: Any, direction: str, chosen: str | None) -> Iterator[str]:
    """The main loop of every function that runs, and what it consists of."""
    parts = _parts(problem, direction, chosen)
    for part in parts:
        yield f"  {part.name} ({part.place}), {part.threads} thread(s): {_loop(part.assembly)}"
    if not parts:
        yield _nothing_compiled(chosen)


def ptx(problem: Any, direction: str, chosen: str | None) -> Iterator[str]:
    """The same of the kernels that a GPU would be given."""
    try:
        kernel = choice.selected(OPERATOR, direction, problem, Settings(target="cuda"))
    except UnsupportedError as error:
        yield f"  no kernel for CUDA computes it: {error}"
        return
    try:
        for text in anatomy.ptx(kernel, problem):
            yield f"  {kernel.name} for {anatomy.ARCHITECTURE}: {_loop(text)}"
    except TargetUnavailableError as error:
        yield f"  {kernel.name}: its PTX is left out: {error}"


SHOWN = {"source": source, "asm": asm, "ptx": ptx}
"""Option → the lines that it shows for a problem, a direction and the name of the kernel that is chosen."""


def _parts(problem: Any, direction: str, chosen: str | None) -> list[anatomy.Part]:
    """What runs on the CPU: the call is made once, on noise."""
    if chosen is None or not chosen.endswith("_cpu"):
        return []
    algorithm = chosen.partition("__")[2].removesuffix("_cpu")
    call, _ = tuning.CALLS[OPERATOR](direction, problem)
    dispatch.forget_choices()  # plans that are there already have settled what they call
    return anatomy.parts(lambda: call(algorithm))


def _nothing_compiled(chosen: str | None) -> str:
    return f"  {chosen or 'no kernel'}: nothing is compiled for the CPU"


def _loop(text: str) -> str:
    loop = instructions.main_loop(text)
    return "no loop" if loop is None else "\n".join([f"main loop of {loop}", *loop.lines])

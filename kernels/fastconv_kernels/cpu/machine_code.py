"""The machine code of what runs, as text.

Numba keeps the optimised LLVM module of a function beside its object code, from the disk too, where its own inspection
gives up; the target machine that has made the object code of it writes it as text as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .compile import threaded, watchers


def assembly(compiled: Any) -> str:
    """The code of a compiled function, with all that is called in it."""
    library = compiled.library
    module = library._get_module_for_linking().clone()  # writing it changes it
    text: str = library.codegen._tm.emit_assembly(module)
    return text


def watched(call: Callable[[], object]) -> list[tuple[threaded, tuple[Any, ...]]]:
    """The threaded functions that ``call`` calls, each once with the arguments of its first call."""
    seen: dict[threaded, tuple[Any, ...]] = {}
    watchers.append(seen.setdefault)
    try:
        call()
    finally:
        watchers.remove(seen.setdefault)
    return list(seen.items())

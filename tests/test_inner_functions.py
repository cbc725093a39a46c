"""What an inner function becomes is its own affair: not that of who calls it first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from fastconv_kernels.cpu.compile import inlined, jit, serial
from fastconv_kernels.cpu.elements import elements


def total(x: Any, count: int) -> Any:
    sum_of_all = x[0]
    for i in range(1, count):
        sum_of_all += (x + i)[0]
    return sum_of_all


def test_an_inner_function_has_no_options_of_its_first_caller() -> None:
    inner = jit(total)
    in_any_order = njit(fastmath=True)(lambda x, count: inner(x, count))
    part_of_its_callers = inlined(lambda x, count: inner(x, count))

    @serial
    def outer(x: Any) -> Any:
        return in_any_order(elements(x, 0), x.size) + part_of_its_callers(elements(x, 0), x.size)

    assert outer(np.arange(10, dtype=np.float32)) == 90
    (compiled,) = inner.overloads.values()
    code = compiled.library.get_function(compiled.fndesc.llvm_func_name)
    assert b"alwaysinline" not in set(code.attributes)
    assert "fadd float" in str(code)  # not "fadd fast float"

"""What an inner function becomes is its own affair: not that of who calls it first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.extending import register_jitable

from fastconv_kernels.cpu.compile import inlined, jit, serial
from fastconv_kernels.cpu.elements import elements


def total(x: Any, count: int) -> Any:
    sum_of_all = x[0]
    for i in range(1, count):
        sum_of_all += (x + i)[0]
    return sum_of_all


@pytest.mark.parametrize("first_caller", [njit(fastmath=True), inlined], ids=["in any order", "inlined"])
def test_an_inner_function_has_no_options_of_its_first_caller(first_caller: Any) -> None:
    inner = jit(total)
    caller = first_caller(lambda x, count: inner(x, count))

    @serial
    def outer(x: Any) -> Any:
        return caller(elements(x, 0), x.size)

    assert outer(np.arange(10, dtype=np.float32)) == 45
    (compiled,) = inner.overloads.values()
    code = compiled.library.get_function(compiled.fndesc.llvm_func_name)
    assert b"alwaysinline" not in set(code.attributes)
    assert "fadd float" in str(code)  # not "fadd fast float"


def test_nor_has_a_function_that_numba_compiles_on_the_way() -> None:
    helper = register_jitable(total)
    inner = inlined(lambda x, count: helper(x, count))

    @serial
    def outer(x: Any) -> Any:
        return inner(elements(x, 0), x.size)

    assert outer(np.arange(10, dtype=np.float32)) == 45
    (compiled,) = inner.overloads.values()
    (code,) = (function for function in compiled.library.get_defined_functions() if "5total" in function.name)
    assert b"alwaysinline" not in set(code.attributes)

"""Numbers nearer to zero than the smallest normal one: zero in a kernel, themselves before and after it, on every thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

import fastconv as fc
from fastconv_kernels.cpu.compile import serial
from fastconv_kernels.cpu.subnormals import switchable
from fastconv_kernels.optimizer import flat_cpu
from targets import SIMULATED

pytestmark = [
    pytest.mark.skipif(SIMULATED, reason="CUDA's simulator, where nothing runs on the CPU's kernels"),
    pytest.mark.skipif(not switchable(), reason="this processor computes with subnormal numbers at full speed"),
]

SUBNORMAL = np.float32(1e-39)
NORMAL = np.finfo(np.float32).smallest_normal
SMALL = np.float32(1e-20)  # normal, but its square is not
THREADS = [1, pytest.param(2, marks=pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread here"))]

PRODUCTS: dict[str, Callable[[Any, Any], Any]] = {
    "matrix product": lambda a, b: fc.matmul(np.full((160, 160), a), np.full((160, 160), b)),
    "Winograd": lambda a, b: fc.conv2d(np.full((8, 32, 28, 28), a), np.full((64, 32, 3, 3), b), padding=1),
    "depthwise": lambda a, b: fc.conv2d(np.full((8, 32, 28, 28), a), np.full((32, 1, 3, 3), b), padding=1, groups=32),
}


def squares(x: Any) -> Any:
    return x * x


@numba.njit(parallel=True)
def squares_on_threads(x: Any) -> Any:
    out = np.empty_like(x)
    for i in numba.prange(x.size):
        out[i] = x[i] * x[i]
    return out


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(("a", "b"), [(SUBNORMAL, np.float32(1)), (SMALL, SMALL)], ids=["operands", "results"])
@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_products_are_zero(product: Any, a: Any, b: Any, threads: int) -> None:
    """Each of them would take a hundred times as long."""
    with fc.use(target="cpu", threads=threads):
        assert not product(a, b).any()


@pytest.mark.parametrize("threads", THREADS)
def test_what_adam_remembers_of_a_parameter_without_gradients_becomes_zero(threads: int) -> None:
    plan = flat_cpu.Adam(fc.dispatch.Update(1 << 16, "float32"), threads)
    assert plan.threads == threads
    parameters, gradients, mean, square = (np.full(1 << 16, value, np.float32) for value in (1, 0, NORMAL, NORMAL))
    for step in (1, 2, 3):
        plan(parameters, gradients, mean, square, step=step, learning_rate=0.01)
    assert not mean.any()
    assert not square.any()


@pytest.mark.parametrize("threads", THREADS)
def test_afterwards_they_count_again(threads: int) -> None:
    """In NumPy, and in loops of the user's own on the same threads."""
    before = squares(np.full(1000, SMALL))
    assert before.all()
    with fc.use(target="cpu", threads=threads):
        PRODUCTS["matrix product"](SMALL, SMALL)
    assert np.array_equal(squares(np.full(1000, SMALL)), before)
    assert np.array_equal(squares_on_threads(np.full(1000, SMALL)), before)


@serial
def refusing(x: Any) -> Any:
    if x[0] * x[0] == 0:
        raise ValueError("it is zero")
    return x[0]


def test_after_an_error_they_count_too() -> None:
    """A kernel is left in another place then."""
    with pytest.raises(ValueError, match="it is zero"):
        refusing(np.full(4, SMALL))
    assert squares(np.full(1000, SMALL)).all()


def test_copies_keep_them() -> None:
    x = np.full((2, 32, 16, 16), SUBNORMAL)
    with fc.use(target="cpu"):
        assert np.array_equal(fc.max_pool2d(x, 1), x)

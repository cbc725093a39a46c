"""Every sum over rows in the tables: exact on integers, within the bound of a sum else, the same for any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv_kernels.problems import Rows
from fastconv_kernels.reduction import CHANNEL_SUM_FORWARD, parts_cpu
from guarded import gamma, guarded, integers, normal, same, within
from targets import SIMULATED, here

SHAPES = [(rows, channels) for rows in (0, 1, 2, 4, 5, 6, 133) for channels in (1, 3, 15, 16, 17, 33)]
LARGE = Rows(3 * parts_cpu.PART // 33 + 7, 33)
if SIMULATED:  # nothing, a row, channels of one block and of two, and enough rows for several parts
    SHAPES, LARGE = [(0, 3), (1, 1), (6, 5), (9, 33)], Rows(80, 33)
DTYPES = ["float32", "float64"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def numbered(kernels: Any) -> Any:
    return pytest.mark.parametrize("kernel", here(kernels), ids=lambda kernel: kernel.name)


def skip_if_refused(kernel: Any, dtype: str) -> None:
    if reasons := kernel.refuses(Rows(1, 1, dtype)):
        pytest.skip("; ".join(reasons))


@pytest.mark.parametrize("dtype", DTYPES)
@numbered(CHANNEL_SUM_FORWARD)
def test_exact_on_integers(kernel: Any, dtype: str, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, dtype)
    for shape in [*SHAPES, (LARGE.rows, LARGE.columns)]:
        problem = Rows(*shape, dtype)
        x = integers(rng, shape, dtype)
        with guarded(shape[1], dtype) as out:
            same(kernel.plan(problem, 1)(x, out), x.sum(axis=0), f"{kernel.name} of {problem}")


@pytest.mark.parametrize("dtype", DTYPES)
@numbered(CHANNEL_SUM_FORWARD)
def test_within_the_bound_of_a_sum(kernel: Any, dtype: str, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, dtype)
    problem = Rows(LARGE.rows, LARGE.columns, dtype)
    x = normal(rng, (problem.rows, problem.columns), dtype)
    out = kernel.plan(problem, 1)(x, np.empty(problem.columns, dtype))
    wide = x.astype(np.longdouble)
    within(out.astype(np.longdouble), wide.sum(axis=0), gamma(problem.rows, dtype) * np.abs(wide).sum(axis=0), kernel.name)


@numbered(CHANNEL_SUM_FORWARD)
def test_nan_and_infinity_stay_in_their_channel(kernel: Any) -> None:
    x = np.zeros((9, 19), "float32")
    x[3, 2], x[8, 18], x[0, 7], x[5, 16] = np.nan, np.inf, -np.inf, np.nan
    out = kernel.plan(Rows(9, 19), 1)(x, np.empty(19, "float32"))
    assert np.flatnonzero(np.isnan(out)).tolist() == [2, 16]
    assert (out[18], out[7], np.count_nonzero(out)) == (np.inf, -np.inf, 4)


@numbered([kernel for kernel in CHANNEL_SUM_FORWARD if kernel.target == "cpu"])
def test_the_same_bits_for_any_number_of_threads(kernel: Any, rng: np.random.Generator) -> None:
    x = normal(rng, (LARGE.rows, LARGE.columns), "float32")
    assert kernel.plan(LARGE, 2).threads == 2
    one, two = (kernel.plan(LARGE, threads)(x, np.empty(LARGE.columns, "float32")) for threads in (1, 2))
    same(two, one, kernel.name)

"""Arrays that notice a write beside them, data whose products are exact, and comparisons that say how to repeat a failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

GUARD = 128
"""Elements on each side of a guarded array: several vectors of the widest machine."""


@contextmanager
def guarded(shape: Any, dtype: Any, *, complete: bool = True) -> Iterator[Any]:
    """An array full of NaN between walls of NaN; on leaving, the walls stand and, if ``complete``, all inside is written."""
    size = int(np.prod(shape))
    memory = np.full(size + 2 * GUARD, np.nan, dtype)
    inside = memory[GUARD : GUARD + size]
    yield inside.reshape(shape)
    assert np.isnan(memory[:GUARD]).all(), "written before the output"
    assert np.isnan(memory[GUARD + size :]).all(), "written behind the output"
    assert not complete or not np.isnan(inside).any(), f"{np.isnan(inside).sum()} of {size} elements were never written"


def integers(rng: np.random.Generator, shape: Any, dtype: Any) -> Any:
    """Small integers: sums of their products are exact in any order, so that results are compared bit for bit."""
    return rng.integers(-8, 9, shape).astype(dtype)


def normal(rng: np.random.Generator, shape: Any, dtype: Any) -> Any:
    """What networks are made of."""
    return rng.standard_normal(shape).astype(dtype)


def gamma(terms: int, dtype: Any) -> float:
    """Bound of the relative error of a sum of ``terms`` products, in any order: K u / (1 - K u)."""
    error = terms * float(np.finfo(dtype).eps) / 2
    return error / (1 - error)


def same(got: Any, expected: Any, repeat: str) -> None:
    """Assert that two arrays are equal, element for element; ``repeat`` is a line that repeats the failure."""
    within(got, expected, 0.0, repeat)


def within(got: Any, expected: Any, bound: Any, repeat: str) -> None:
    """Assert |got - expected| <= bound, element for element; ``repeat`` is a line that repeats the failure."""
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}\nrepeat: {repeat}"
    wrong = ~(np.abs(got - expected) <= bound)
    if wrong.any():
        first = tuple(int(index) for index in np.argwhere(wrong)[0])
        allowed = np.broadcast_to(bound, wrong.shape)[first]
        raise AssertionError(
            f"{wrong.sum()} of {wrong.size} elements differ, the first at {first}: got {got[first]!r}, "
            f"expected {expected[first]!r} within {allowed!r}\nrepeat: {repeat}"
        )

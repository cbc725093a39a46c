"""What a look at the arrays of a product tells: a number where they can be used as they are, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv_kernels.matmul.at_a_glance import as_laid_down, glance, meant

A, B, OUT = np.zeros((3, 5), "float32"), np.zeros((5, 7), "float32"), np.zeros((3, 7), "float32")
AROUND = np.zeros(60, "float32")
"""Memory that several views share: of A's, of B's and of the result's size."""


def locked(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


def displaced(array: Any) -> Any:
    """The same elements at an address that is no multiple of their size."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    return memory[1:].view(array.dtype).reshape(array.shape)


class Own(np.ndarray[Any, Any]):
    """A class that may mean something else by a product."""


def test_arrays_are_laid_down_as_numpy_says() -> None:
    assert as_laid_down()


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        *[(A, B, OUT), (A, B, None), (np.asfortranarray(A), B.T.copy().T, OUT), (locked(A), locked(B), OUT)],
        *[(np.zeros((9, 5), "float32")[4:7], B, np.zeros((5, 7), "float32")[1:4])],
        *[
            (AROUND[:15].reshape(3, 5), B, AROUND[15:36].reshape(3, 7)),
            (AROUND[21:36].reshape(3, 5), B, AROUND[:21].reshape(3, 7)),
        ],
    ],
)
def test_what_can_be_used_has_a_number(a: Any, b: Any, out: Any) -> None:
    assert meant(glance()(a, b, out)) == ((3, 5), (5, 7), np.dtype("float32"), np.dtype("float32"))


def test_numbers_tell_products_apart() -> None:
    sizes = [(M, K, N, dtype) for M in (0, 1, 70) for K in (0, 3) for N in (1, 900) for dtype in ("float32", "float64")]
    sizes += [(1, (1 << 20) - 1, 1, "float64"), ((1 << 20) - 1, 1, 1, "float32"), (1, 1, (1 << 20) - 1, "float32")]
    for M, K, N, name in sizes:
        number, dtype = glance()(np.zeros((M, K), name), np.zeros((K, N), name), None), np.dtype(name)
        assert meant(number) == ((M, K), (K, N), dtype, dtype)


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        *[(A.tolist(), B, OUT), (A, 3, OUT), (A, None, OUT), (A, B, "out"), (A.view(Own), B, OUT), (A, B, OUT.view(Own))],
        *[
            (A[0], B, OUT),
            (A, B[:, 0], OUT),
            (A[None], B, OUT),
            (A, B, OUT[None]),
            (A[:, :4], B[:4], OUT),
            (A, B[:, ::7], None),
        ],
        *[(A.astype("float64"), B, OUT), (A, B.astype("float16"), OUT), (A, B, OUT.astype("float64"))],
        *[(A.astype(">f4"), B.astype(">f4"), None), (A.astype("int32"), B.astype("int32"), None)],
        *[(displaced(A), B, OUT), (A, displaced(B), OUT), (A, B, displaced(OUT)), (A, B, locked(OUT))],
        *[(A, B[:4], OUT), (A, B.T, OUT), (A, B, OUT.T), (A, B, np.asfortranarray(OUT)), (A, B, OUT[:2]), (A, B, OUT[:, :5])],
        *[(B.T[:3], np.zeros((5, 5), "float32"), A), (A, np.zeros((5, 5), "float32"), A), (A[:, :3], A, A)],
        *[
            (AROUND[:15].reshape(3, 5), B, AROUND[14:35].reshape(3, 7)),
            (A, AROUND[20:55].reshape(5, 7), AROUND[:21].reshape(3, 7)),
        ],
        *[(np.zeros((1 << 20, 1), "float32"), B[:1], None), (B[:, :1].T, np.zeros((5, 1 << 20), "float32"), None)],
    ],
)
def test_what_cannot_be_used_as_it_is_has_none(a: Any, b: Any, out: Any) -> None:
    assert glance()(a, b, out) < 0

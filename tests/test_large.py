"""More than 2**31 elements: no offset is kept in 32 bits.

The arrays are pages of zeros that the system never has to provide, with one element far behind that is not zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import dispatch

ROWS, COLUMNS, STEP = 33_000, 65_536, 1024
LAST = (ROWS - 1) // STEP * STEP, COLUMNS - STEP
SHAPES = {"NCHW": (1, 1, ROWS, COLUMNS), "NHWC": (1, ROWS, COLUMNS, 1)}


@pytest.fixture(scope="module")
def matrix() -> np.ndarray[Any, np.dtype[Any]]:
    try:
        zeros = np.zeros((ROWS, COLUMNS), np.float32)
    except MemoryError:
        pytest.skip("this machine does not lend 9 GB of addresses")
    zeros[LAST] = 2.0
    assert zeros.size > 2**31
    assert LAST[0] * COLUMNS + LAST[1] > 2**31
    return zeros


def test_convolution(matrix: np.ndarray[Any, np.dtype[Any]]) -> None:
    x, weight = matrix.reshape(SHAPES["NHWC"]), np.full((1, 1, 1, 1), 3.0, np.float32)
    asked: dict[str, Any] = {"stride": STEP, "layout": "NHWC", "algorithm": "implicit_gemm"}
    out = fc.conv2d(x, weight, **asked)
    assert out.reshape(-1)[-1] == 6
    assert out.sum() == 6
    gradient = fc.conv2d_backward_weight(np.ones_like(out), x, weight.shape, **asked)
    assert gradient.item() == 2


@pytest.mark.parametrize("layout", dispatch.LAYOUTS)
def test_pooling(matrix: np.ndarray[Any, np.dtype[Any]], layout: str) -> None:
    for pool in fc.max_pool2d, fc.avg_pool2d:
        out = pool(matrix.reshape(SHAPES[layout]), 1, STEP, layout=layout)
        assert out.reshape(-1)[-1] == 2
        assert out.sum() == 2


def test_product_of_a_view(matrix: np.ndarray[Any, np.dtype[Any]]) -> None:
    out = fc.matmul(matrix[::STEP], np.ones((COLUMNS, 3), np.float32))
    assert (out[-1] == 2).all()
    assert out.sum() == 6

"""Pooling means what torch's means: windows, padding, divisors, positions and gradients, where torch is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from guarded import integers, normal

torch = pytest.importorskip("torch", reason="compares with torch where it is installed")
F = torch.nn.functional

WINDOWS = [(3, 2, 1), (2, 2, 0), (3, 3, 1), (3, 2, 0)]
SIZES = [(7, 7), (3, 5), (1, 1), (13, 11), (4, None), (20, 3)]
LAYOUTS = ["NCHW", "NHWC"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def channels_last(images: Any, layout: str) -> Any:
    return images if layout == "NCHW" else np.ascontiguousarray(images.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("divisor", [None, 5])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_average(window: Any, ceil: bool, counted: bool, divisor: int | None, rng: np.random.Generator) -> None:
    x = integers(rng, (2, 17, 10, 13), "float32")
    expected = F.avg_pool2d(torch.from_numpy(x), *window, ceil, counted, divisor).numpy()
    for layout in LAYOUTS:
        got = fc.avg_pool2d(channels_last(x, layout), *window, ceil, counted, divisor, layout=layout)
        np.testing.assert_allclose(got, channels_last(expected, layout), rtol=1e-6)


@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_maximum(window: Any, ceil: bool, rng: np.random.Generator) -> None:
    x = integers(rng, (2, 17, 10, 13), "float32")
    x[rng.random(x.shape) < 0.05] = np.nan
    expected, places = (each.numpy() for each in F.max_pool2d(torch.from_numpy(x), *window, 1, ceil, return_indices=True))
    for layout in LAYOUTS:
        got, found = fc.max_pool2d(channels_last(x, layout), *window, 1, ceil, True, layout=layout)
        np.testing.assert_array_equal(got, channels_last(expected, layout))
        np.testing.assert_array_equal(found, channels_last(places, layout))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_adaptive(size: Any, layout: str, rng: np.random.Generator) -> None:
    x = normal(rng, (2, 17, 13, 10), "float32")
    x[0, 3, 5, 5] = np.nan
    point = torch.from_numpy(x).requires_grad_()
    expected = F.adaptive_avg_pool2d(point, size)
    given = channels_last(x, layout)
    got = fc.adaptive_avg_pool2d(given, size, layout=layout)
    np.testing.assert_allclose(got, channels_last(expected.detach().numpy(), layout), rtol=1e-5, atol=1e-6)
    grad = normal(rng, tuple(expected.shape), "float32")
    expected.backward(torch.from_numpy(grad))
    back = fc.adaptive_avg_pool2d_backward(channels_last(grad, layout), given.shape, layout=layout)
    np.testing.assert_allclose(back, channels_last(point.grad.numpy(), layout), rtol=1e-5, atol=1e-6)
    best, places = (each.numpy() for each in F.adaptive_max_pool2d(torch.from_numpy(x), size, return_indices=True))
    got, found = fc.adaptive_max_pool2d(given, size, True, layout=layout)
    np.testing.assert_array_equal(got, channels_last(best, layout))
    np.testing.assert_array_equal(found, channels_last(places, layout))
    np.testing.assert_array_equal(fc.adaptive_max_pool2d(given, size, layout=layout, target="numpy"), got)

"""Every change of layout in the tables: exact, complete, the same for any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv_kernels.cpu.workspace import uninitialised
from fastconv_kernels.layout import GATHER_FORWARD, NCHW_TO_NHWC_FORWARD, NHWC_TO_NCHW_FORWARD, blocked_cpu, registers_cpu
from fastconv_kernels.problems import Gather, Transposition
from guarded import guarded, normal, same
from targets import SIMULATED, here

KERNELS = here(NCHW_TO_NHWC_FORWARD + NHWC_TO_NCHW_FORWARD)
SIZES = [(2, channels, pixels) for channels in (1, 3, 7, 15, 16, 17, 33) for pixels in (1, 7, 16, 35, 90)] + [
    (0, 3, 4),
    (2, 3, 0),
]
if SIMULATED:  # one square and a bit of others, images one after the other, nothing
    SIZES = [(2, 3, 35), (1, 33, 34), (0, 3, 4), (2, 3, 0)]


def shapes(kernel: Any, problem: Transposition) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(of x, of out)"""
    first = problem.images, problem.channels, problem.pixels
    last = problem.images, problem.pixels, problem.channels
    return (first, last) if kernel.operator == "nchw_to_nhwc" else (last, first)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_swaps_the_axes(kernel: Any, dtype: str) -> None:
    rng = np.random.default_rng(5)
    for size in SIZES:
        problem = Transposition(*size, dtype)
        if kernel.refuses(problem):
            continue
        x_shape, out_shape = shapes(kernel, problem)
        x = normal(rng, x_shape, dtype)
        with guarded(out_shape, dtype) as out:
            same(kernel.plan(problem, 1)(x, out), x.swapaxes(1, 2), f"{kernel.name} of {problem}")


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_nan_and_infinity_are_moved_as_they_are(kernel: Any) -> None:
    problem = Transposition(1, 3, 19)
    x_shape, out_shape = shapes(kernel, problem)
    x = np.resize(np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], "float32"), x_shape)
    out = kernel.plan(problem, 1)(x, np.empty(out_shape, "float32"))
    same(out.view("int32"), np.ascontiguousarray(x.swapaxes(1, 2)).view("int32"), kernel.name)


@pytest.mark.skipif(SIMULATED, reason="a kernel of the CPU")
def test_planes_past_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of channels that are no multiple of a vector's lanes."""
    monkeypatch.setattr(registers_cpu, "goes_past", lambda *_: True)
    plan = registers_cpu.Swap(Transposition(2, 37, 256), 1)
    x = normal(np.random.default_rng(7), (2, 256, 37), "float32")
    same(plan(x, uninitialised((2, 37, 256), "float32")), x.swapaxes(1, 2), "registers")


@pytest.mark.parametrize("kernel", [kernel for kernel in KERNELS if kernel.target == "cpu"], ids=lambda kernel: kernel.name)
def test_the_same_for_any_number_of_threads(kernel: Any) -> None:
    channels = 3 if kernel.algorithm == "interleaved" else 33
    problem = Transposition(3, channels, 2 * max(blocked_cpu.GRAIN, registers_cpu.GRAIN) // (3 * channels) + 1)
    x_shape, out_shape = shapes(kernel, problem)
    x = normal(np.random.default_rng(6), x_shape, "float32")
    assert kernel.plan(problem, 2).threads == 2
    same(kernel.plan(problem, 2)(x, np.empty(out_shape, "float32")), x.swapaxes(1, 2), kernel.name)


@pytest.mark.parametrize("source", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("kernel", here(GATHER_FORWARD), ids=lambda kernel: kernel.name)
def test_gathers_images_in_the_networks_layout(kernel: Any, source: str) -> None:
    rng = np.random.default_rng(6)
    for count, channels, pixels, dtype in ((3, 1, 35, "float32"), (2, 3, 18, "float64"), (0, 2, 5, "float32")):
        scale = 1 / 255 if source == "uint8" else 1.0
        images = (rng.random((5, channels, pixels)) * 255).astype(source)
        indices = rng.integers(0, 5, count)
        expected = images[indices].swapaxes(1, 2).astype(dtype) * np.dtype(dtype).type(scale)
        problem = Gather(count, channels, pixels, source, dtype, scale)
        with guarded(expected.shape, dtype) as out:
            same(kernel.plan(problem, 2)(images, indices, out), expected, f"{kernel.name} of {problem}")

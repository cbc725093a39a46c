"""What depthwise convolution does differently with images that the caches do not hold, on images that they do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conv_cases import PROBLEMS, agrees, operands, result, shapes, truth
from fastconv_kernels.conv import (
    depthwise_cpu,
    depthwise_planes_cpu,
    depthwise_planes_weight_cpu,
    depthwise_small_planes_cpu,
    depthwise_weight_cpu,
    walk,
)
from fastconv_kernels.cpu.workspace import aligned
from fastconv_kernels.problems import Conv
from fastconv_kernels.registry import Kernel
from guarded import integers, same

PLANS = {"forward": depthwise_cpu.Forward, "backward_input": depthwise_cpu.BackwardInput}
ALIKE = replace(PROBLEMS["depthwise, stride 2"], C=64, K=64, groups=64, layout="NHWC")


@pytest.mark.parametrize("direction", PLANS)
def test_images_larger_than_the_caches(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "LEVEL3_SHARE", 0)
    monkeypatch.setattr(walk, "LEVEL2_SHARE", 0)
    first, weight = operands(direction, ALIKE, integers)
    plan = PLANS[direction](ALIKE)
    assert plan.walk.streamed
    assert bool(plan.walk.band) != plan.walk.asked
    shape = shapes(direction, ALIKE)[2]
    out = aligned(int(np.prod(shape)), ALIKE.dtype).reshape(shape)
    plan(first, plan.pack(weight), out)
    same(out, truth(direction, ALIKE, first, weight), f"streamed {direction} of {ALIKE}")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("direction", PLANS)
def test_images_in_order(direction: str, stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise_cpu, "goes_in_order", lambda *_: True)
    problem = replace(ALIKE, stride=(stride, stride))
    first, weight = operands(direction, problem, integers)
    assert PLANS[direction](problem).order.lines
    got = result(Kernel("conv", direction, "depthwise", "cpu", PLANS[direction]), problem, first, weight)
    same(got, truth(direction, problem, first, weight), f"{direction} of {problem} in order")


@pytest.mark.parametrize("direction", PLANS)
def test_strips_and_blocks_of_channels(direction: str) -> None:
    def plan(problem: Any, threads: int) -> Any:
        made = PLANS[direction](problem, threads)
        made.walk = made.walk._replace(pixels=made.tile.rows, channels=made.tile.columns)
        return made

    first, weight = operands(direction, ALIKE, integers)
    got = result(Kernel("conv", direction, "depthwise", "cpu", plan), ALIKE, first, weight)
    same(got, truth(direction, ALIKE, first, weight), f"{direction} of {ALIKE} in strips")


def test_weight_gradient_of_images_larger_than_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "LEVEL3_SHARE", 0)
    monkeypatch.setattr(walk, "LEVEL2_SHARE", 0)
    monkeypatch.setattr(depthwise_weight_cpu, "STRIP", 1)
    monkeypatch.setattr(depthwise_weight_cpu, "exceed_caches", lambda *_: True)
    gradient, x = operands("backward_weight", ALIKE, integers)
    plan = depthwise_weight_cpu.BackwardWeight(ALIKE)
    out = np.full(ALIKE.weight_shape, np.nan, ALIKE.dtype)
    plan(gradient, x, out)
    same(out, truth("backward_weight", ALIKE, gradient, x), f"backward_weight of {ALIKE} in bands")


@pytest.mark.parametrize("stride", [1, 2])
def test_weight_gradient_in_order(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise_weight_cpu, "goes_in_order", lambda *_: True)
    problem = replace(ALIKE, stride=(stride, stride))
    gradient, x = operands("backward_weight", problem, integers)
    plan, out = depthwise_weight_cpu.BackwardWeight(problem), np.full(problem.weight_shape, np.nan, problem.dtype)
    plan(gradient, x, out)
    same(out, truth("backward_weight", problem, gradient, x), f"backward_weight of {problem} in order")


def test_weight_gradient_in_strips() -> None:
    gradient, x = operands("backward_weight", ALIKE, integers)
    plan = depthwise_weight_cpu.BackwardWeight(ALIKE)
    plan.steps = *plan.steps[:-6], plan.windows[0].pixels, plan.tile.columns, 1, 1, 0, 0
    out = np.full(ALIKE.weight_shape, np.nan, ALIKE.dtype)
    plan(gradient, x, out)
    same(out, truth("backward_weight", ALIKE, gradient, x), f"backward_weight of {ALIKE} in strips")


def test_planes_in_bands() -> None:
    problem = ALIKE.with_layout("NCHW")
    first, weight = operands("forward", problem, integers)
    plan = depthwise_planes_cpu.Forward(problem)
    plan.band = 2
    out = np.full(problem.out_shape, np.nan, problem.dtype)
    plan(first, plan.pack(weight), out)
    same(out, truth("forward", problem, first, weight), f"forward of {problem}")


def test_planes_brought_near_for_the_gradient_of_the_weight() -> None:
    problem = ALIKE.with_layout("NCHW")
    gradient, x = operands("backward_weight", problem, integers)
    plan = depthwise_planes_weight_cpu.BackwardWeight(problem)
    plan.fetched = *plan.fetched[:-1], True
    out = np.full(problem.weight_shape, np.nan, problem.dtype)
    plan(gradient, x, out)
    same(out, truth("backward_weight", problem, gradient, x), f"backward_weight of {problem}")


@pytest.mark.parametrize("module", [depthwise_weight_cpu, depthwise_planes_weight_cpu])
def test_a_gradient_that_is_nan_meets_the_pixels_of_the_image_alone(module: Any) -> None:
    problem = ALIKE if module is depthwise_weight_cpu else ALIKE.with_layout("NCHW")
    gradient, x = operands("backward_weight", problem, integers)
    gradient[0, 0, 0, 0] = np.nan  # above and left of its window there is no pixel
    out = np.zeros(problem.weight_shape, problem.dtype)
    module.BackwardWeight(problem)(gradient, x, out)
    taps = out[:, :, 0, 0] if problem.layout == "NHWC" else out[0, 0]
    np.testing.assert_array_equal(np.isnan(taps), [[False] * 3, [False, True, True], [False, True, True]])
    assert np.isnan(out).sum() == 4


ONE = (1, 1), (1, 1)
SMALL_PLANES = {
    "whole vectors, an image left": Conv(3, 32, 7, 7, 32, 3, 3, padding=ONE, groups=32),
    "rows longer than a vector": Conv(1, 5, 3, 19, 5, 3, 3, padding=ONE, groups=5),
    "planes shorter than a vector": Conv(1, 37, 2, 3, 37, 3, 5, padding=((2, 2), (2, 2)), dilation=(2, 1), groups=37),
    "a pixel": Conv(2, 17, 1, 1, 17, 1, 1, groups=17),
    "no column of its own": Conv(1, 16, 3, 4, 16, 1, 2, padding=((0, 0), (1, 1)), dilation=(1, 2), groups=16),
}


@pytest.mark.parametrize("name", SMALL_PLANES)
@pytest.mark.parametrize("direction", PLANS)
def test_small_planes(direction: str, name: str) -> None:
    agrees(f"conv_{direction}__depthwise_small_planes_cpu", SMALL_PLANES[name], integers)


@pytest.mark.parametrize("channels", [32, 19])
def test_small_planes_never_meet(channels: int) -> None:
    """What is NaN in one plane, or at the end of a row, leaves all others as they are."""
    problem = Conv(2, channels, 7, 7, channels, 3, 3, padding=ONE, groups=channels)
    x, weight = operands("forward", problem, integers)
    x[:, ::2] = np.nan
    x[:, 1, 3, 6] = np.nan
    plan, out = depthwise_small_planes_cpu.Forward(problem), np.zeros(problem.out_shape, problem.dtype)
    plan(x, plan.pack(weight), out)
    expected = np.zeros((7, 7), bool)
    expected[2:5, 5:] = True
    np.testing.assert_array_equal(np.isnan(out[:, 1]), np.broadcast_to(expected, (2, 7, 7)))
    assert np.isnan(out[:, ::2]).all()
    assert np.isfinite(out[:, 3::2]).all()

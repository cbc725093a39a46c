"""Winograd's convolution of the phases of a dilated window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import guarded
from conv_cases import NAMES, agrees, operands, result, truth
from fastconv_kernels.problems import Conv
from targets import SIMULATED

if SIMULATED:
    pytest.skip("of the CPU", allow_module_level=True)

PROBLEMS = {  # the patches are those of "patches + 1"
    "even": Conv(1, 24, 18, 26, 18, 3, 3, padding=((2, 2), (2, 2)), dilation=(2, 2), layout="NHWC"),
    "unlike": Conv(2, 24, 18, 27, 18, 3, 3, padding=((4, 2), (0, 3)), dilation=(2, 3), layout="NHWC"),
    "no image": Conv(0, 24, 18, 26, 18, 3, 3, padding=((2, 2), (2, 2)), dilation=(2, 2), layout="NHWC"),
    "a row less": Conv(2, 24, 17, 25, 18, 3, 3, padding=((2, 2), (3, 3)), dilation=(2, 3), layout="NHWC"),
}


@pytest.mark.parametrize("fill", [guarded.integers, guarded.normal])
@pytest.mark.parametrize("size", PROBLEMS)
@pytest.mark.parametrize("direction", ["forward", "backward_input", "backward_weight"])
def test_phases_are_images(direction: str, size: str, fill: object) -> None:
    agrees(f"conv_{direction}__winograd_dilated_cpu", PROBLEMS[size], fill)


def test_residual_and_relu() -> None:
    kernel, problem = NAMES["conv_forward__winograd_dilated_cpu"], PROBLEMS["unlike"]
    x, weight = operands("forward", problem, guarded.integers)
    rng = np.random.default_rng(1)
    residual, bias = guarded.integers(rng, problem.out_shape, "float32"), guarded.integers(rng, (problem.K,), "float32")
    plain = result(kernel, problem, x, weight)
    got = result(kernel, problem, x, weight, bias=bias, residual=residual, activation="relu")
    np.testing.assert_allclose(got, np.maximum(plain + bias + residual, 0), atol=1e-2)
    assert (result(kernel, problem, x, weight, bias=bias, activation="relu") >= 0).all()


@pytest.mark.parametrize("size", ["even", "a row less"])
@pytest.mark.parametrize("direction", ["forward", "backward_input", "backward_weight"])
def test_what_is_not_finite_stays_in_its_windows(direction: str, size: str) -> None:
    kernel, problem = NAMES[f"conv_{direction}__winograd_dilated_cpu"], PROBLEMS[size]
    first, second = operands(direction, problem, guarded.normal)
    if direction == "backward_weight":
        second[0, -1, -2, 3] = np.inf
    else:
        first[0, 3, 4, 5] = np.inf
    with np.errstate(invalid="ignore"):
        expected = truth(direction, problem, first, second)
    got = result(kernel, problem, first, second)
    assert np.array_equal(np.isfinite(got), np.isfinite(expected))


def test_what_it_refuses() -> None:
    refuses, problem = NAMES["conv_forward__winograd_dilated_cpu"].refuses, PROBLEMS["even"]
    assert not refuses(problem)
    for other in (
        replace(problem, dilation=(1, 1)),
        replace(problem, H=5, dilation=(6, 2), padding=((6, 6), (2, 2))),
        replace(problem, stride=(2, 2)),
        replace(problem, padding=((1, 1), (2, 2))),
        replace(problem, groups=2),
        replace(problem, S=1),
    ):
        assert refuses(other)

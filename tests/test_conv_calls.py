"""The public convolutions: layouts, strides of arrays, ``out``, padding modes, the transposed one, plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from conv_cases import operands, shapes, truth
from fastconv_kernels.problems import Conv
from guarded import guarded, integers, same

PROBLEM = Conv(2, 6, 9, 11, 8, 3, 3, (2, 1), ((1, 1), (1, 1)), (1, 2), 2)
WIDE = Conv(2, 24, 8, 9, 32, 3, 3, padding=((1, 1), (1, 1)))
LAYOUTS = ["NCHW", "NHWC"]
CALLS = {
    "forward": lambda p: (fc.conv2d, (None,)),
    "backward_input": lambda p: (fc.conv2d_backward_input, (p.x_shape,)),
    "backward_weight": lambda p: (fc.conv2d_backward_weight, (p.weight_shape,)),
}


def call(direction: str, problem: Conv, first: Any, second: Any, **keywords: Any) -> Any:
    function, more = CALLS[direction](problem)
    window = problem.stride, problem.padding, problem.dilation, problem.groups
    return function(first, second, *more, *window, layout=problem.layout, **keywords)


def prepared(direction: str, layout: str, problem: Conv = PROBLEM, dtype: str = "float64") -> tuple[Conv, Any, Any, Any]:
    problem = replace(problem, layout=layout, dtype=dtype)
    first, second = operands(direction, problem, integers)
    return problem, first, second, truth(direction, problem, first, second)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("problem", [PROBLEM, WIDE, replace(WIDE, N=0), replace(PROBLEM, C=2, K=2)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("direction", CALLS)
def test_every_direction(direction: str, layout: str, problem: Conv, dtype: str) -> None:
    problem, first, second, expected = prepared(direction, layout, problem, dtype)
    got = call(direction, problem, first, second, accuracy="exact")
    assert got.dtype == dtype
    assert got.flags.c_contiguous
    same(got, expected, f"fc {direction} of {problem}")
    with guarded(expected.shape, dtype) as out:
        assert call(direction, problem, first, second, accuracy="exact", out=out) is out
    same(out, expected, f"fc {direction} of {problem} into out")


def any_strides(array: Any) -> list[Any]:
    """The same values: column-major, backwards, with gaps, in channels-last memory, read-only, of the other byte order."""
    locked = array.copy()
    locked.flags.writeable = False
    backwards = array[..., ::-1, ::-1].copy()[..., ::-1, ::-1]
    gaps = np.repeat(array, 2, -1)[..., ::2]
    elsewhere = array.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    shifted = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    return [np.asfortranarray(array), backwards, gaps, elsewhere, locked, shifted, array.astype(array.dtype.newbyteorder())]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("direction", CALLS)
def test_any_strides(direction: str, layout: str) -> None:
    problem, first, second, expected = prepared(direction, layout)
    for one, other in zip(any_strides(first), any_strides(second), strict=True):
        before = one.copy(), other.copy()
        same(call(direction, problem, one, other), expected, f"strides {one.strides} and {other.strides}")
        assert np.array_equal(one, before[0])
        assert np.array_equal(other, before[1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_a_batch_axis(layout: str) -> None:
    problem = replace(PROBLEM, N=1)
    for direction in ("forward", "backward_input"):
        problem, first, second, expected = prepared(direction, layout, problem)
        function, more = CALLS[direction](problem)
        more = tuple(shape and shape[1:] for shape in more)
        window = problem.stride, problem.padding, problem.dilation, problem.groups
        same(function(first[0], second, *more, *window, layout=layout), expected[0], direction)
    problem, first, second, expected = prepared("backward_weight", layout, problem)
    same(call("backward_weight", problem, first[0], second[0]), expected, "backward_weight")


@pytest.mark.parametrize("activation", [None, "relu", "leaky_relu", "elu", "sigmoid", "tanh"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_epilogue(layout: str, activation: str | None) -> None:
    problem, x, weight, expected = prepared("forward", layout, WIDE)
    rng = np.random.default_rng(1)
    bias, residual = integers(rng, (problem.K,), "float64"), integers(rng, problem.out_shape, "float64")
    total = (expected + (bias if layout == "NHWC" else bias[:, None, None]) + residual) / 512
    wanted = {
        "relu": np.maximum(total, 0),
        "leaky_relu": np.where(total > 0, total, 0.01 * total),
        "elu": np.where(total > 0, total, np.expm1(total)),
        "sigmoid": 1 / (1 + np.exp(-total)),
        "tanh": np.tanh(total),
    }.get(str(activation), total)
    got = call_forward(problem, x / 512, weight, bias / 512, activation=activation, residual=residual / 512)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


def call_forward(problem: Conv, x: Any, weight: Any, bias: Any, **keywords: Any) -> Any:
    window = problem.stride, problem.padding, problem.dilation, problem.groups
    return fc.conv2d(x, weight, bias, *window, layout=problem.layout, accuracy="exact", **keywords)


@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding_modes(layout: str, mode: str, numpy_mode: Any) -> None:
    problem = replace(WIDE, layout=layout, padding=((2, 1), (0, 3)))
    x, weight = operands("forward", problem, integers)
    sides = ((0, 0), (0, 0), *problem.padding) if layout == "NCHW" else ((0, 0), *problem.padding, (0, 0))
    got = fc.conv2d(x, weight, padding=problem.padding, padding_mode=mode, layout=layout, accuracy="exact")
    same(got, fc.conv2d(np.pad(x, sides, numpy_mode), weight, layout=layout, accuracy="exact"), mode)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("output_padding", [0, (1, 0)])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_is_the_gradient(layout: str, output_padding: Any, groups: int) -> None:
    extra = (output_padding, output_padding) if isinstance(output_padding, int) else output_padding
    H, W = 2 * 4 - 2 + 2 + 1 + extra[0], 2 * 5 - 2 + 2 + 1 + extra[1]
    problem = Conv(2, 6, H, W, 4, 3, 3, (2, 2), ((1, 1), (1, 1)), groups=groups, layout=layout, dtype="float64")
    assert shapes("forward", problem)[2] == problem.image_shape(4, 5, 6)
    gradient, weight = operands("backward_input", problem, integers)
    bias = np.arange(6.0)
    got = fc.conv_transpose2d(gradient, weight, bias, 2, 1, output_padding, groups, layout=layout)
    expected = truth("backward_input", problem, gradient, weight) + (bias if layout == "NHWC" else bias[:, None, None])
    same(got, expected, "fc.conv_transpose2d")
    got = fc.conv_transpose2d(gradient, weight, bias, 2, 1, output_padding, groups, layout=layout, activation="relu")
    same(got, np.maximum(expected, 0), "fc.conv_transpose2d with relu")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_conv1d_is_conv2d_of_one_row(layout: str) -> None:
    problem = Conv(2, 4, 1, 21, 6, 1, 3, (1, 2), ((0, 0), (1, 2)), (1, 2), 2, layout=layout)
    x, weight = operands("forward", problem, integers)
    axis, tap = (2, 2) if layout == "NCHW" else (1, 0)
    bias = np.arange(6, dtype="float32")
    line, taps = np.squeeze(x, axis), np.squeeze(weight, tap)
    expected = fc.conv2d(x, weight, bias, (1, 2), problem.padding, (1, 2), 2, layout=layout)
    got = fc.conv1d(line, taps, bias, 2, (1, 2), 2, 2, layout=layout)
    same(got, np.squeeze(expected, axis), "fc.conv1d")
    same(fc.conv1d(line[0], taps, bias, 2, (1, 2), 2, 2, layout=layout), got[0], "fc.conv1d without a batch axis")
    out = np.empty_like(got)
    fc.conv1d(line, taps, bias, 2, (1, 2), 2, 2, layout=layout, out=out, residual=got)
    same(out, 2 * got, "fc.conv1d with out and residual")


@pytest.mark.parametrize(
    ("padding", "size"), [("same", (5, 5)), ("valid", (4, 4)), (1, (5, 5)), ((2, 0), (6, 4)), (((0, 2), (3, 1)), (5, 6))]
)
def test_padding_forms(padding: Any, size: tuple[int, int]) -> None:
    assert fc.conv2d(np.ones((1, 2, 9, 9), "f4"), np.ones((3, 2, 3, 3), "f4"), None, 2, padding).shape == (1, 3, *size)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_plan(layout: str) -> None:
    problem, x, weight, expected = prepared("forward", layout, WIDE)
    asked: dict[str, Any] = {"padding": 1, "dtype": "float64", "layout": layout, "accuracy": "exact"}
    plan = fc.plan_conv2d(x.shape, weight.shape, activation="relu", **asked)
    assert (plan.flops, plan.bytes) == (problem.flops, problem.bytes)
    assert plan.workspace_bytes >= 0
    assert plan.name == f"conv_forward__{plan.algorithm}_{plan.target}"
    packed = plan.pack(weight)
    bias, out = np.arange(float(problem.K)), np.empty(problem.out_shape)
    assert plan(x, packed, out=out) is out
    same(out, np.maximum(expected, 0), "plan with a packed weight")
    same(plan(x, weight, bias, out), call_forward(problem, x, weight, bias, residual=out, activation="relu"), "plan with all")
    copy = weight.copy()
    weight[:] = 0
    same(plan(x, packed), plan(x, copy), "what was packed follows its source")
    with pytest.raises(fc.ArgumentError, match=r"^x: expected shape"):
        plan(x[1:], packed)
    with pytest.raises(fc.ArgumentError, match=r"^weight: expected what this plan has packed"):
        fc.plan_conv2d(x.shape, weight.shape, **asked)(x, packed)
    with pytest.raises(fc.ArgumentError, match=r"^out: .*overlaps with x"):
        plan(out.reshape(-1)[: x.size].reshape(x.shape), packed, out=out)

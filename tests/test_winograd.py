"""What convolutions by transforms promise beyond the tests of all: matrices, exactness of F(2x2, 3x3), NaN and overflow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conv_cases import KERNELS, NAMES, bound, operands, result, shapes, truth
from fastconv_kernels.conv import winograd_blocks, winograd_cpu, winograd_weight_cpu
from fastconv_kernels.conv.toom_cook import POINTS, completion, dilated, short, strided, toom_cook, transposed
from fastconv_kernels.cpu.workspace import Caches, aligned
from fastconv_kernels.problems import LAYOUTS, Conv
from guarded import integers, normal, same, within

TRANSFORMS = [
    pytest.param(kernel, layout, id=f"{kernel.name}-{layout}")
    for kernel in KERNELS
    for layout in ((kernel.layout,) if kernel.layout else LAYOUTS)
    if not kernel.exact
]
"""In each layout that they take."""

PROBLEMS = {
    "3x3": Conv(2, 17, 9, 10, 18, 3, 3, padding=((1, 1), (1, 1)), layout="NHWC"),
    "5x5": Conv(2, 9, 6, 11, 20, 5, 5, padding=((2, 1), (0, 3)), layout="NHWC"),
    "stride 2": Conv(2, 17, 10, 9, 18, 3, 3, stride=(2, 2), padding=((1, 1), (1, 1)), layout="NHWC"),
}


@pytest.mark.parametrize(("outputs", "taps"), POINTS)
def test_the_matrices_compute_a_correlation(outputs: int, taps: int) -> None:
    rng = np.random.default_rng(0)
    for m, r in ((outputs, taps), (taps, outputs)):
        matrices = toom_cook(m, r, POINTS[outputs, taps])
        pixels, filter_ = rng.standard_normal((m + r - 1, m + r - 1)), rng.standard_normal((r, r))
        values = (matrices.taps @ filter_ @ matrices.taps.T) * (matrices.input @ pixels @ matrices.input.T)
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (r, r))
        np.testing.assert_allclose(matrices.output @ values @ matrices.output.T, (windows * filter_).sum((2, 3)), atol=1e-10)


@pytest.mark.parametrize(("outputs", "taps"), POINTS)
def test_few_outputs_need_few_points(outputs: int, taps: int) -> None:
    rng, matrices = np.random.default_rng(0), short(outputs, taps)
    pixels, filter_ = rng.standard_normal(outputs + taps - 1), rng.standard_normal(taps)
    for few in range(1, outputs):
        factors, lines, points = completion(matrices, range(few), range(taps), range(few + taps - 1))
        assert len(points) == few + taps - 1
        assert not set(lines) & set(range(few + taps - 1))
        values = np.zeros(len(pixels))
        values[list(points)] = ((matrices.taps @ filter_) * (matrices.input @ (factors @ pixels)))[list(points)]
        expected = np.correlate(pixels, filter_)[:few]
        np.testing.assert_allclose((matrices.output @ values)[:few], expected, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("taps", [1, 2, 3, 5])
def test_phases_compute_strided_dilated_and_transposed_correlations(taps: int, stride: int) -> None:
    rng, outputs = np.random.default_rng(taps), 2
    pixels, filter_, gradient = (rng.standard_normal(n) for n in (9, taps, outputs))
    forward, weight = strided(outputs, taps, stride), dilated(taps, outputs, stride)
    met = [[pixels[stride * i + j] for j in range(taps)] for i in range(outputs)]
    for matrices, factor, expected in ((forward, filter_, met @ filter_), (weight, gradient, gradient @ met)):
        read = pixels[: matrices.input.shape[1]]
        np.testing.assert_allclose(matrices.output @ ((matrices.taps @ factor) * (matrices.input @ read)), expected)
    for before in range(4) if stride <= taps else ():
        matrices, first = transposed(outputs, taps, stride, before)
        expected = [
            sum(pixels[(h + before - j) // stride - first] * filter_[j] for j in range(taps) if (h + before - j) % stride == 0)
            for h in range(stride * outputs)
        ]
        read = pixels[: matrices.input.shape[1]]
        got = matrices.output @ ((matrices.taps @ filter_[::-1]) * (matrices.input @ read))
        np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize("size", ["3x3", "stride 2"])
@pytest.mark.parametrize("direction", ["forward", "backward_input", "backward_weight"])
def test_two_by_two_outputs_of_integers_are_exact(direction: str, size: str) -> None:
    """Its points are 0, 1, -1: all numbers on the way are multiples of a quarter."""
    kernel, problem = NAMES[f"conv_{direction}__winograd_2x2_cpu"], PROBLEMS[size]
    first, second = operands(direction, problem, integers)
    same(result(kernel, problem, first, second), truth(direction, problem, first, second), kernel.name)


@pytest.mark.parametrize("size", PROBLEMS)
@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("plan", [winograd_cpu.Forward, winograd_cpu.BackwardInput])
def test_writes_past_the_caches(plan: Any, outputs: int, size: str) -> None:
    """What large images need, on small ones: results are the same bits whether they go past the caches or not."""
    problem = replace(PROBLEMS[size], C=32, K=32)
    if winograd_cpu.refuses(problem, outputs):
        return  # F(4x4) takes no stride
    direction = "forward" if plan is winograd_cpu.Forward else "backward_input"
    first, weight = operands(direction, problem, normal)
    made, shape, results = plan(problem, outputs=outputs), shapes(direction, problem)[2], []
    assert not made.streamed
    for made.streamed, made.asks in ((False, False), (True, False), (True, True)):
        out = aligned(int(np.prod(shape)), problem.dtype).reshape(shape)
        made(first, made.pack(weight), out)
        results.append(out)
    same(results[1], results[0], f"streamed {direction} of {problem}")
    same(results[2], results[0], f"asked for ahead of time, {direction} of {problem}")


@pytest.mark.parametrize(("rows", "vectors"), [(9, 2), (8, 1.25)])
def test_planes_are_written_past_the_caches(rows: int, vectors: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What large NCHW images need, on small ones: the same bits, with a residual, a ReLU and channels that fill no vector."""
    lanes = winograd_cpu.Forward(PROBLEMS["3x3"]).tile.lanes
    problem = Conv(2, 7, rows, int(vectors * lanes), lanes + 5, 3, 3, padding=((1, 1), (1, 1)), layout="NCHW")
    (x, weight), shape, results = operands("forward", problem, normal), problem.out_shape, []
    residual, bias = (normal(np.random.default_rng(0), size, problem.dtype) for size in (shape, (problem.K,)))
    for large in (False, True):
        monkeypatch.setattr(winograd_blocks, "exceed_caches", lambda problem, large=large: large)
        plan, out = winograd_cpu.Forward(problem), aligned(int(np.prod(shape)), problem.dtype).reshape(shape)
        assert plan.streamed == large
        plan(x, plan.pack(weight), out, bias, residual, "relu")
        results.append(out)
    same(results[1], results[0], "streamed planes")


@pytest.mark.parametrize("stays", [True, False])
def test_fetches_ahead_of_time(stays: bool) -> None:
    """What large images need in the gradient of the weight: the same bits."""
    problem, results = replace(PROBLEMS["3x3"], C=32, K=32), []
    gradient, x = operands("backward_weight", problem, normal)
    plan = winograd_weight_cpu.BackwardWeight(problem)
    assert plan.sizes.stays
    assert not plan.streamed
    plan.sizes = plan.sizes._replace(stays=stays, group=5)
    for plan.streamed in (False, True):
        results.append(plan(gradient, x, np.full(problem.weight_shape, np.nan, problem.dtype)))
    within(results[0], truth("backward_weight", problem, gradient, x), 1e-3, "groups of five patches")
    same(results[1], results[0], f"streamed {problem}")


def pattern(array: Any) -> Any:
    """0 where it is finite, else which of nan, inf and -inf."""
    return np.where(np.isnan(array), 2, np.where(np.isinf(array), np.sign(array), 0))


def summed(direction: str, problem: Conv, first: Any, second: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return truth(direction, problem, first, second)


def with_padding_multiplied(direction: str, problem: Conv, first: Any, second: Any) -> Any:
    """The sums in which the zeros of padding are pixels like all others."""
    rows, across = (1, 2) if problem.layout == "NHWC" else (2, 3)

    def padded(array: Any, vertical: tuple[int, int], horizontal: tuple[int, int]) -> Any:
        return np.pad(array, [{rows: vertical, across: horizontal}.get(axis, (0, 0)) for axis in range(4)])

    if direction != "backward_input":
        H, W = problem.H + sum(problem.padding[0]), problem.W + sum(problem.padding[1])
        x = padded(first if direction == "forward" else second, *problem.padding)
        operands_ = (x, second) if direction == "forward" else (first, x)
        return summed(direction, replace(problem, H=H, W=W, padding=((0, 0), (0, 0))), *operands_)
    down, right = (-(-(size - 1) // step) for size, step in zip((problem.R, problem.S), problem.stride, strict=True))
    top, left = down * problem.stride[0], right * problem.stride[1]
    larger = replace(problem, H=problem.H + 2 * top, W=problem.W + 2 * left)
    whole = summed(direction, larger, padded(first, (down, down), (right, right)), second)
    return whole.take(range(top, top + problem.H), rows).take(range(left, left + problem.W), across)


def assert_alike(direction: str, problem: Conv, operands_: tuple[Any, Any], got: Any, plain: Any, message: str) -> None:
    """The same pattern as a plain sum's, but where plain sums differ: whether the zeros of padding are multiplied is open."""
    reference = pattern(summed(direction, problem, *operands_))
    settled = (pattern(plain) == reference) & (pattern(with_padding_multiplied(direction, problem, *operands_)) == reference)
    assert settled.mean() > 0.5
    assert np.array_equal(pattern(got)[settled], pattern(plain)[settled]), message


def plainly(direction: str, problem: Conv, first: Any, second: Any) -> Any:
    """What the kernel that sums products computes."""
    kernel = NAMES[f"conv_{direction}__implicit_gemm_cpu"]
    own = kernel.in_layout(problem)
    if own == problem:
        return result(kernel, problem, first, second, threads=2)
    images = (np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in (first, second))
    return result(kernel, own, *images, threads=2).transpose(3, 2, 0, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38], ids=str)
@pytest.mark.parametrize("planted", ["in the first", "in the second", "in both"])
@pytest.mark.parametrize("size", PROBLEMS)
@pytest.mark.parametrize(("kernel", "layout"), TRANSFORMS)
def test_only_what_must_is_not_finite(kernel: Any, layout: str, size: str, planted: str, value: float) -> None:
    """As in a kernel that sums products, also at borders and where the transform alone overflows."""
    problem = PROBLEMS[size].with_layout(layout)
    if kernel.refuses(problem):
        return  # F(4x4) takes no stride
    for place in ("first", "last", "random"):
        first, second = (array / 4 for array in operands(kernel.direction, problem, normal))
        for array, wanted in ((first, "first"), (second, "second")):
            if planted.endswith((wanted, "both")):
                rng = np.random.default_rng(array.size)
                array[tuple({"first": 0, "last": n - 1, "random": rng.integers(n)}[place] for n in array.shape)] = value
        expected = plainly(kernel.direction, problem, first, second)
        got = result(kernel, problem, first, second, threads=2)
        assert_alike(kernel.direction, problem, (first, second), got, expected, f"{value} {planted}, {place}")
        if not np.isfinite(value):  # beside a number near the largest all digits are lost
            finite = np.isfinite(expected)
            np.testing.assert_allclose(got[finite & np.isfinite(got)], expected[finite & np.isfinite(got)], rtol=0, atol=1e-4)


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize(("kernel", "layout"), TRANSFORMS)
def test_small_caches_cut_large_work(kernel: Any, layout: str, far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What large layers need on any machine: filters transformed panel by panel, sums block by block, patches in groups."""
    problem = Conv(5, 66, 17, 18, 70, 3, 3, padding=((1, 1), (1, 1)), layout=layout)
    if kernel.refuses(problem):
        return  # phases are for few channels
    first, second = operands(kernel.direction, problem, normal)
    for module in (winograd_blocks, winograd_weight_cpu):
        monkeypatch.setattr(module, "caches", lambda: Caches(1 << 12, 1 << 15, 1 << 18))
    monkeypatch.setattr(winograd_blocks, "far_caches", lambda: far)
    monkeypatch.setattr(winograd_blocks, "GROUPS", ((48, 64), (12, 32)))
    monkeypatch.setattr(winograd_blocks, "FAR_KEPT", winograd_blocks.KEPT)  # else U is kept, of 8 lanes
    sizes = kernel.plan(problem, 1).sizes
    if kernel.direction == "backward_weight":
        assert 0 < sizes.group < sizes.patches
        assert not sizes.stays
    else:
        assert 0 < sizes.chunk < problem.C
        assert sizes.blocks > 1
    one, two = (result(kernel, problem, first, second, threads) for threads in (1, 2))
    assert np.array_equal(one, two)
    right, allowed = truth(kernel.direction, problem, first, second), bound(kernel, problem, first, second)
    within(one, right, allowed, kernel.name)
    if kernel.options:
        plan, out = kernel.made(problem, 1, prepared=True), np.empty_like(one)
        same(plan(first, plan.pack(second), out), one, "prepared filters")
        smaller = kernel.made(problem, 1, most_bytes=plan.workspace_bytes // 2)
        assert smaller.workspace_bytes <= plan.workspace_bytes // 2
        smaller(first, smaller.pack(second), out)
        within(out, right, allowed, "a smaller workspace")
    first[2, 3, 4, 5] = np.inf
    expected = plainly(kernel.direction, problem, first, second)
    got = result(kernel, problem, first, second, threads=2)
    assert_alike(kernel.direction, problem, (first, second), got, expected, "infinity in the first")

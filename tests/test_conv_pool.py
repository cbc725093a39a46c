"""Convolution, ReLU and max pooling in one: every kernel against the reference, and that against the separate steps."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conv_cases import ONE, bound, terms
from fastconv_kernels import conv, pool
from fastconv_kernels.conv import reference, sparse_pool_weight_cpu
from fastconv_kernels.cpu.threads import available_threads
from fastconv_kernels.problems import Conv, ConvPool, Pool
from guarded import gamma, guarded, integers, normal, same, within

SIDES = ((2, 2), (2, 2))
PROBLEMS = {
    "one window": Conv(1, 1, 2, 2, 1, 1, 1),
    "first layer": Conv(2, 1, 28, 28, 32, 3, 3, padding=ONE),
    "second layer": Conv(2, 32, 14, 14, 64, 3, 3, padding=ONE),
    "odd sides": Conv(2, 5, 11, 9, 7, 3, 3, padding=ONE),
    "wide, odd": Conv(1, 3, 5, 37, 20, 3, 2),
    "lenet": Conv(2, 1, 28, 28, 6, 5, 5, padding=SIDES),
    "lenet, second": Conv(3, 6, 14, 14, 16, 5, 5),
    "stride and dilation": Conv(2, 4, 21, 23, 18, 3, 5, stride=(2, 1), dilation=(1, 2), padding=((2, 0), (1, 4))),
    "groups": Conv(2, 6, 9, 8, 34, 3, 3, padding=ONE, groups=2),
    "patches": Conv(1, 16, 8, 12, 16, 3, 3, padding=ONE),
    "patches - 1": Conv(2, 24, 7, 11, 33, 3, 3, padding=ONE),
    "patches + 1": Conv(1, 17, 9, 13, 40, 3, 3, padding=ONE),
    "patches + 2": Conv(1, 16, 10, 14, 16, 3, 3, padding=ONE),
    "no image": Conv(0, 3, 7, 7, 5, 3, 3),
}
MANY_CHANNELS = {"more channels than bits": Conv(2, 3, 6, 6, 70, 3, 3, padding=ONE)}
LARGE = Conv(4, 24, 26, 23, 40, 3, 3, padding=ONE)
ALIKE = {"winograd_2x2": ("odd sides", "lenet", "patches + 1")}
"""What is enough for an algorithm that differs from another in its matrices alone: each shape compiles."""


def cases(kernels: Any, problems: dict[str, Conv] = PROBLEMS) -> list[Any]:
    """A pytest parameter (kernel, problem) for every problem that a kernel does not refuse."""
    found = []
    for kernel in kernels:
        own = ALIKE.get(kernel.algorithm, PROBLEMS)
        for name, convolution in problems.items():
            if (plain := name.removesuffix("-float64")) in PROBLEMS and plain not in own:
                continue
            for layout in ("NHWC", "NCHW") if kernel.layout is None else (kernel.layout,):
                problem = ConvPool(convolution).with_layout(layout)
                if not kernel.refuses(problem):
                    found.append(pytest.param(kernel, problem, id=f"{kernel.name}-{name}-{layout}"))
    return found


def typed(kernels: Any, problems: dict[str, Conv] = PROBLEMS) -> list[Any]:
    """Those cases in single precision, some in double too: each size of tile is compiled for each."""
    some = {name: replace(problems[name], dtype="float64") for name in ("odd sides", "stride and dilation", "lenet, second")}
    return cases(kernels, problems) + cases(kernels, {f"{name}-float64": problem for name, problem in some.items()})


def operands(problem: ConvPool, fill: Any, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    return tuple(fill(rng, shape, problem.dtype) for shape in (problem.x_shape, problem.weight_shape, (problem.K,)))


def convolved(problem: ConvPool, x: Any, weight: Any, bias: Any) -> Any:
    """The convolution's output before ReLU, in float64."""
    out = reference.forward(x.astype("float64"), weight.astype("float64"), problem.conv)
    return out + (bias if problem.layout == "NHWC" else bias[:, None, None])


def result(kernel: Any, problem: ConvPool, x: Any, weight: Any, bias: Any, threads: int = 1) -> tuple[Any, Any]:
    """(maxima, positions), in guarded arrays; without positions the maxima are the same."""
    plan = kernel.plan(problem, threads)
    packed = plan.pack(weight)
    size, guard = int(np.prod(problem.out_shape)), 128
    memory = np.full(size + 2 * guard, 99, np.uint8)
    places = memory[guard : guard + size].reshape(problem.out_shape)
    complete = bool(np.isfinite(x).all())
    with guarded(problem.out_shape, problem.dtype, complete=complete) as out:
        plan(x, packed, out, places, bias)
    assert (memory[:guard] == 99).all(), "positions written before the output"
    assert (memory[guard + size :] == 99).all(), "positions written behind the output"
    with guarded(problem.out_shape, problem.dtype, complete=complete) as alone:
        plan(x, packed, alone, None, bias)
    assert np.array_equal(out, alone, equal_nan=True), "without positions the maxima are others"
    return out, places


def four(problem: ConvPool, images: Any) -> Any:
    """(…, 4) the pixels of each window of the convolution's output."""
    return np.stack(
        [
            images[:, i : 2 * problem.P : 2, j : 2 * problem.Q : 2]
            if problem.layout == "NHWC"
            else images[:, :, i : 2 * problem.P : 2, j : 2 * problem.Q : 2]
            for i in range(2)
            for j in range(2)
        ],
        -1,
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_reference_is_the_three_steps(name: str, layout: str) -> None:
    """Forwards, and backwards: what pooling, ReLU and bias send back one after the other."""
    problem = ConvPool(replace(PROBLEMS[name], dtype="float64", layout=layout))
    x, weight, bias = operands(problem, integers)
    out, places = np.empty(problem.out_shape), np.empty(problem.out_shape, np.uint8)
    plan = reference.PooledForward(problem, 1)
    plan(x, plan.pack(weight), out, places, bias)
    c, window = problem.conv, (2, 2)
    pooling = Pool("max", c.N, c.K, c.P, c.Q, *window, window, dtype="float64", layout=layout)
    before = np.maximum(convolved(problem, x, weight, bias), 0)
    expected, indices = np.empty(problem.out_shape), np.empty(problem.out_shape, np.int64)
    pool.FORWARD[-1].plan(pooling, 1)(before, expected, indices)
    same(out, expected, name)
    grad = integers(np.random.default_rng(5), problem.out_shape, "float64")
    expected_grad = np.empty(c.out_shape)
    pool.BACKWARD_INPUT[-1].plan(pooling, 1)(grad, indices, expected_grad)
    expected_grad[before <= 0] = 0
    got, got_bias = np.empty(c.out_shape), np.empty(c.K)
    reference.PooledBackwardEpilogue(problem, 1)(grad, places, got, got_bias)
    same(got, expected_grad, name)
    same(got_bias, expected_grad.sum((0, 1, 2) if layout == "NHWC" else (0, 2, 3)), name)


@pytest.mark.parametrize("fill", [integers, normal], ids=["integers", "normal"])
@pytest.mark.parametrize(("kernel", "problem"), typed(conv.CONV_POOL_FORWARD))
def test_agrees_with_the_reference(kernel: Any, problem: ConvPool, fill: Any) -> None:
    """Exact where sums are; else within the bounds, and every position one whose pixel may be the largest."""
    x, weight, bias = operands(problem, fill)
    out, places = result(kernel, problem, x, weight, bias)
    expected, expected_places = reference.pooled(convolved(problem, x, weight, bias), problem)
    if kernel.exact and fill is integers:
        same(out, expected, f"{kernel.name} of {problem}")
        assert np.array_equal(places, expected_places)
        return
    taps = four(problem, convolved(problem, x, weight, bias))
    forward = replace(kernel, direction="forward")
    sizes = bound(forward, problem.conv, x, weight)
    spread = bias if problem.layout == "NHWC" else bias[:, None, None]
    extra = gamma(terms("forward", problem.conv) + 2, problem.dtype) * abs(spread)
    allowed = four(problem, sizes + extra).max(-1, initial=0)
    within(out, expected, allowed, f"{kernel.name} of {problem}")
    chosen = np.take_along_axis(taps, np.minimum(places, 3)[..., None].astype(np.intp), -1)[..., 0]
    largest = np.maximum(taps.max(-1, initial=-np.inf), 0)
    within(np.where(places < 4, chosen, 0), largest, 2 * allowed, f"positions of {kernel.name} of {problem}")
    assert ((out == 0) == (places == 4)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize(
    ("kernel", "problem"), cases(conv.CONV_POOL_FORWARD, {name: PROBLEMS[name] for name in ("odd sides", "patches + 1")})
)
def test_what_is_not_finite_stays_so(kernel: Any, problem: ConvPool, value: float) -> None:
    x, weight, bias = operands(problem, normal)
    x[tuple(size // 2 for size in x.shape)] = value
    with np.errstate(invalid="ignore"):
        expected, places = reference.pooled(convolved(problem, x, weight, bias), problem)
    got, got_places = result(kernel, problem, x, weight, bias)
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    assert np.array_equal(np.isposinf(got), np.isposinf(expected))
    unsure = np.isfinite(expected) & (got_places != places)
    assert not unsure[~np.isfinite(expected)].any()
    assert np.array_equal(got_places[np.isnan(expected)], places[np.isnan(expected)])


@pytest.mark.parametrize(("kernel", "problem"), cases(conv.CONV_POOL_FORWARD, {"large": LARGE}))
def test_same_bits_for_any_number_of_threads(kernel: Any, problem: ConvPool) -> None:
    if available_threads() < 2:
        pytest.skip("Numba has a single thread here (NUMBA_NUM_THREADS)")
    given = operands(problem, normal)
    (alone, places), (together, places_together) = (result(kernel, problem, *given, threads) for threads in (1, 2))
    assert np.array_equal(alone, together)
    assert np.array_equal(places, places_together)


@pytest.mark.parametrize(
    ("kernel", "problem"), cases([k for k in conv.CONV_POOL_FORWARD if k.target != "numpy"], {"large": LARGE})
)
def test_a_call_allocates_no_arrays(kernel: Any, problem: ConvPool) -> None:
    x, weight, bias = operands(problem, normal)
    plan = kernel.plan(problem, 1)
    out, places, packed = np.empty(problem.out_shape, "float32"), np.empty(problem.out_shape, np.uint8), plan.pack(weight)
    other = np.asfortranarray(operands(problem, normal, 1)[1])
    plan(x, packed, out, places, bias)
    tracemalloc.start()
    try:
        plan(x, packed, out, places, bias)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000
    plan(x, plan.pack(other, packed), out, places, bias)
    assert np.array_equal(out, result(kernel, problem, x, np.ascontiguousarray(other), bias)[0])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("kernel", "problem"),
    cases(conv.CONV_POOL_BACKWARD_EPILOGUE, PROBLEMS | {"large": LARGE, "two parts": replace(LARGE, N=2)}),
)
def test_the_way_back_agrees_with_the_reference(kernel: Any, problem: ConvPool, dtype: str, threads: int) -> None:
    if threads > available_threads():
        pytest.skip("Numba has a single thread here (NUMBA_NUM_THREADS)")
    problem = replace(problem, conv=replace(problem.conv, dtype=dtype))
    rng = np.random.default_rng(1)
    grad, places = integers(rng, problem.out_shape, dtype), rng.integers(0, 5, problem.out_shape, np.uint8)
    expected, expected_bias = reference.expanded(grad, places, problem)
    plan = kernel.plan(problem, threads)
    with guarded(problem.conv.out_shape, dtype) as got, guarded((problem.K,), dtype) as got_bias:
        plan(grad, places, got, got_bias)
    same(got, expected, f"{kernel.name} of {problem}")
    same(got_bias, expected_bias, f"{kernel.name} of {problem}, bias")
    got[...] = np.nan
    plan(grad, places, got)
    same(got, expected, f"{kernel.name} of {problem}, without a bias")


def given(problem: ConvPool, fill: Any) -> tuple[Any, Any, Any]:
    """A gradient, positions and images."""
    rng = np.random.default_rng(2)
    places = rng.integers(0, 5, problem.out_shape, np.uint8)
    return fill(rng, problem.out_shape, problem.dtype), places, fill(rng, problem.x_shape, problem.dtype)


@pytest.mark.parametrize("fill", [integers, normal], ids=["integers", "normal"])
@pytest.mark.parametrize(("kernel", "problem"), typed(conv.CONV_POOL_BACKWARD_WEIGHT))
def test_the_weights_gradient_agrees_with_the_reference(kernel: Any, problem: ConvPool, fill: Any) -> None:
    grad, places, x = given(problem, fill)
    full, expected_bias = reference.expanded(grad.astype("float64"), places, problem)
    expected = reference.backward_weight(full, x.astype("float64"), problem.conv)
    with guarded(problem.weight_shape, problem.dtype) as got, guarded((problem.K,), problem.dtype) as got_bias:
        kernel.plan(problem, 1)(grad, places, x, got, got_bias)
    exact = kernel.exact and fill is integers
    sizes = bound(replace(kernel, direction="backward_weight"), problem.conv, full.astype(problem.dtype), x)
    within(got, expected, 0.0 if exact else sizes, f"{kernel.name} of {problem}")
    axes = (0, 1, 2) if problem.layout == "NHWC" else (0, 2, 3)
    allowed = gamma(2 * problem.N * problem.P * problem.Q, problem.dtype) * abs(full).sum(axes)
    within(got_bias, expected_bias, 0.0 if exact else allowed, f"{kernel.name} of {problem}, bias")


@pytest.mark.parametrize("name", ["lenet", "lenet, second"])
def test_the_images_of_a_part_are_added_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both of its ways, with rows that are laid out and with pixels that are picked from registers."""
    monkeypatch.setattr(sparse_pool_weight_cpu, "PARTS", 1)
    problem = ConvPool(PROBLEMS[name]).with_layout("NHWC")
    grad, places, x = given(problem, integers)
    full, expected_bias = reference.expanded(grad.astype("float64"), places, problem)
    got, got_bias = np.empty(problem.weight_shape, problem.dtype), np.empty(problem.K, problem.dtype)
    sparse_pool_weight_cpu.BackwardWeight(problem)(grad, places, x, got, got_bias)
    same(got, reference.backward_weight(full, x.astype("float64"), problem.conv), name)
    same(got_bias, expected_bias, name)


@pytest.mark.parametrize(("kernel", "problem"), cases(conv.CONV_POOL_BACKWARD_WEIGHT, {"large": LARGE}))
def test_the_weights_gradient_has_the_same_bits_for_any_number_of_threads(kernel: Any, problem: ConvPool) -> None:
    if available_threads() < 2:
        pytest.skip("Numba has a single thread here (NUMBA_NUM_THREADS)")
    outs = [np.empty((2, *problem.weight_shape), "float32") for _ in range(2)]
    for threads, out in enumerate(outs, 1):
        kernel.plan(problem, threads)(*given(problem, normal), out[0])
        kernel.plan(problem, threads)(*given(problem, normal), out[1], np.empty(problem.K, "float32"))
        assert np.array_equal(out[0], out[1])
    assert np.array_equal(*outs)


def gradient(kernel: Any, problem: ConvPool, fill: Any, threads: int = 1) -> Any:
    """The gradient of the input, in a guarded array."""
    grad, places, _ = given(problem, fill)
    plan = kernel.plan(problem, threads)
    packed = plan.pack(operands(problem, fill)[1])
    with guarded(problem.x_shape, problem.dtype) as got:
        plan(grad, places, packed, got)
    return got


@pytest.mark.parametrize("fill", [integers, normal], ids=["integers", "normal"])
@pytest.mark.parametrize(("kernel", "problem"), typed(conv.CONV_POOL_BACKWARD_INPUT, PROBLEMS | MANY_CHANNELS))
def test_the_inputs_gradient_agrees_with_the_reference(kernel: Any, problem: ConvPool, fill: Any) -> None:
    grad, places, _ = given(problem, fill)
    weight = operands(problem, fill)[1]
    full, _ = reference.expanded(grad.astype("float64"), places, problem)
    expected = reference.backward_input(full, weight.astype("float64"), problem.conv)
    exact = kernel.exact and fill is integers
    sizes = bound(replace(kernel, direction="backward_input"), problem.conv, full.astype(problem.dtype), weight)
    within(gradient(kernel, problem, fill), expected, 0.0 if exact else sizes, f"{kernel.name} of {problem}")


@pytest.mark.parametrize(("kernel", "problem"), cases(conv.CONV_POOL_BACKWARD_INPUT, {"large": LARGE}))
def test_the_inputs_gradient_has_the_same_bits_for_any_number_of_threads(kernel: Any, problem: ConvPool) -> None:
    if available_threads() < 2:
        pytest.skip("Numba has a single thread here (NUMBA_NUM_THREADS)")
    assert np.array_equal(*(gradient(kernel, problem, normal, threads) for threads in (1, 2)))


def test_a_window_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^kernel_size: a window of 2 pixels does not fit"):
        ConvPool(Conv(1, 3, 3, 8, 4, 3, 3))

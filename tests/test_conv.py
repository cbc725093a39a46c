"""Every convolution kernel in the tables against the NumPy reference, and the reference against the loops that define it."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from conv_cases import (
    DISTINCT,
    KERNELS,
    LARGE,
    PROBLEMS,
    TABLES,
    agrees,
    bound,
    cases,
    in_both_precisions,
    in_layout,
    launch,
    operands,
    result,
    shapes,
    truth,
)
from fastconv_kernels.conv import direct_cpu, geometry, implicit_gemm_weight_cpu, reference, strips, weight_cuts
from fastconv_kernels.cpu.threads import available_threads
from fastconv_kernels.cpu.tile import Tile
from fastconv_kernels.cpu.workspace import Caches
from fastconv_kernels.problems import Conv
from guarded import gamma, guarded, integers, normal, same, within
from targets import SIMULATED

FORWARD = TABLES["forward"]
SMALL = {name: problem for name, problem in PROBLEMS.items() if problem.flops < 100_000}
LARGER = {
    "large": LARGE,
    "large, other": Conv(3, 16, 30, 29, 32, 3, 3, groups=2),
    "dilated": Conv(1, 24, 36, 52, 18, 3, 3, padding=((2, 2), (2, 2)), dilation=(2, 2)),
    "1x1": Conv(2, 28, 31, 30, 24, 1, 1),
    "1x1, one block of pixels": Conv(1, 64, 12, 12, 128, 1, 1),
    "one small image": Conv(1, 32, 7, 7, 220, 3, 3, padding=((1, 1), (1, 1))),
    "one small image, groups": Conv(1, 60, 7, 7, 248, 3, 3, groups=2),
    "depthwise": Conv(4, 60, 27, 32, 60, 3, 3, padding=((1, 1), (1, 1)), groups=60),
    "strided": Conv(2, 17, 61, 60, 20, 3, 3, stride=(2, 2), padding=((1, 1), (1, 1))),
}
ORDINARY = (
    "patches + 1",
    "dilated patches",
    "primes",
    "stride 2, patches",
    "tile + 1",
    "1x1 over the ends of images",
    "depthwise",
    "colours",
)
MIDDLE = {name: PROBLEMS[name] for name in ORDINARY if name in PROBLEMS}
"""Those of ``conv_cases`` that every kernel is compiled for in any case."""
EPILOGUES = list(product([False, True], [False, True], [None, "relu"]))
if SIMULATED:
    EPILOGUES = [(True, False, None), (False, True, "relu"), (True, True, "relu")]
    LARGER = MIDDLE = {"padded": Conv(1, 4, 4, 5, 6, 3, 3, padding=((1, 1), (1, 1)))}


def channels_first(array: Any, problem: Conv, weight: bool) -> Any:
    if problem.layout == "NCHW":
        return array
    return array.transpose(3, 2, 0, 1) if weight else array.transpose(0, 3, 1, 2)


@pytest.mark.skipif(SIMULATED, reason="of the CPU")
@pytest.mark.parametrize("direction", ["forward", "backward_input"])
def test_a_row_that_leaves_the_cache_is_a_column(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "caches", lambda: Caches(level2=1 << 10))
    problem = PROBLEMS["one row"].with_layout("NHWC")
    assert geometry.as_column(problem).W == 1
    agrees(f"conv_{direction}__implicit_gemm_cpu", problem, integers)


@pytest.mark.skipif(SIMULATED, reason="of the CPU")
@pytest.mark.parametrize("direction", ["forward", "backward_input"])
def test_groups_as_wide_as_narrower_vectors(direction: str) -> None:
    problem = Conv(2, 24, 11, 9, 24, 3, 3, stride=(2, 2), padding=((1, 1), (1, 1)), groups=3, layout="NHWC")
    agrees(f"conv_{direction}__implicit_gemm_cpu", problem, integers)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("direction", TABLES)
def test_the_reference_is_the_definition(direction: str, name: str, layout: str) -> None:
    problem = replace(SMALL[name], layout=layout, dtype="float64")
    first, second = operands(direction, problem, integers)
    expected = getattr(naive, direction)(
        channels_first(first, problem, False), channels_first(second, problem, direction != "backward_weight"), problem
    )
    got = channels_first(getattr(reference, direction)(first, second, problem), problem, direction == "backward_weight")
    same(got, expected, f"reference.{direction} of {problem}")


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_every_kernel_has_problems(kernel: Any) -> None:
    assert cases([kernel]), f"{kernel.name} refuses every problem of conv_cases: none of the tests below runs it"
    assert cases([kernel], LARGER), f"{kernel.name} refuses every large problem: add one to LARGER"
    assert cases([kernel], MIDDLE), f"{kernel.name} refuses every problem of middle size: add one to MIDDLE"


@pytest.mark.parametrize("fill", [integers, normal], ids=["integers", "normal"])
@pytest.mark.parametrize(("kernel", "problem"), in_both_precisions(cases()))
def test_agrees_with_the_reference(kernel: Any, problem: Conv, fill: Any) -> None:
    if reasons := kernel.refuses(problem):
        pytest.skip("; ".join(reasons))
    agrees(kernel.name, problem, fill)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
sides = st.tuples(st.integers(0, 3), st.integers(0, 3))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    sizes=st.tuples(st.integers(0, 3), *[st.integers(1, 20)] * 4, *[st.integers(1, 4)] * 2),
    window=st.tuples(st.sampled_from([(1, 1), (2, 2), (3, 1)]), st.tuples(sides, sides), pairs),
    groups=st.sampled_from([1, 1, 2, 3]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_any_problem(sizes: Any, window: Any, groups: int, dtype: str) -> None:
    N, C, H, W, K, R, S = sizes
    try:
        problem = Conv(N, C * groups, H, W, K * groups, R, S, *window, groups, dtype)
    except ValueError:
        return  # the window does not fit
    for parameter in cases(problems={"any": problem}):
        kernel, wanted = parameter.values
        agrees(kernel.name, wanted, integers)


@pytest.mark.parametrize(("kernel", "problem"), cases([k for k in DISTINCT if k.direction != "forward"], MIDDLE))
def test_is_the_adjoint_of_the_convolution(kernel: Any, problem: Conv) -> None:
    """<g, conv(x, w)> = <x, backward_input(g, w)> = <w, backward_weight(g, x)>: exact on integers, else within the bounds."""
    (x, weight), gradient = operands("forward", problem, integers), operands("backward_input", problem, integers, 1)[0]
    outcome = truth("forward", problem, x, weight)
    given, other = ((gradient, weight), x) if kernel.direction == "backward_input" else ((gradient, x), weight)
    got = np.vdot(other.astype("float64"), result(kernel, problem, *given).astype("float64"))
    allowed = 0.0 if kernel.exact else np.vdot(abs(other), bound(kernel, problem, *given))
    assert abs(got - np.vdot(gradient, outcome)) <= allowed, f"{kernel.name} of {problem}"


@pytest.mark.parametrize(("bias", "residual", "activation"), EPILOGUES)
@pytest.mark.parametrize(("kernel", "problem"), cases([k for k in DISTINCT if k.direction == "forward"], MIDDLE))
def test_epilogue(kernel: Any, problem: Conv, bias: bool, residual: bool, activation: str | None) -> None:
    rng = np.random.default_rng(2)
    x, weight = operands("forward", problem, integers)
    addend = integers(rng, problem.out_shape, problem.dtype)
    offset = integers(rng, (problem.K,), problem.dtype)
    spread = offset if problem.layout == "NHWC" else offset[:, None, None]
    expected = truth("forward", problem, x, weight) + bias * spread + residual * addend
    got = result(
        kernel,
        problem,
        x,
        weight,
        bias=offset if bias else None,
        residual=addend if residual else None,
        activation=activation,
    )
    sizes = bound(kernel, problem, x, weight) + gamma(problem.depth + 2, problem.dtype) * (abs(spread) + abs(addend))
    within(
        got, np.maximum(expected, 0) if activation else expected, 0.0 if kernel.exact else sizes, f"{kernel.name} {problem}"
    )


@pytest.mark.skipif(not SIMULATED, reason="needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported")
@pytest.mark.parametrize(("module", "name"), [("implicit_gemm_weight", "Simt"), ("direct", "BackwardWeight")])
def test_the_gradient_of_a_weight_in_parts_on_cuda(module: str, name: str) -> None:
    """The parts of a long sum, the last one shorter, added by a second launch."""
    problem = Conv(2, 2, 6, 9, 3, 2, 1, layout="NHWC")
    gradient, x = operands("backward_weight", problem, integers)
    plan = getattr(import_module(f"fastconv_kernels.conv.{module}_cuda"), name)(problem, parts=2)
    with guarded(problem.weight_shape, "float32") as out:
        plan(gradient, x, out)
    assert plan.parts == 2
    same(out, truth("backward_weight", problem, gradient, x), repr(problem))


@pytest.mark.skipif(SIMULATED, reason="a kernel of the CPU")
@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize(
    "problem",
    [
        Conv(3, 40, 23, 22, 40, 1, 1, groups=2, layout="NHWC"),
        Conv(3, 40, 23, 22, 40, 1, 1, stride=(2, 2), groups=2, layout="NHWC"),
        Conv(3, 3, 23, 22, 40, 3, 3, padding=((1, 1), (1, 1)), layout="NHWC"),
        Conv(3, 3, 23, 22, 40, 3, 3, stride=(2, 2), padding=((1, 1), (1, 1))),
    ],
)
def test_the_gradient_of_a_weight_asks_for_pixels_or_not(problem: Conv, far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for are pixels of the next block, which is smaller then if the window is 1x1."""
    gradient, x = operands("backward_weight", problem, integers)
    monkeypatch.setattr(weight_cuts, "caches", lambda: Caches(1 << 12, 1 << 15, 1 << 18))
    for module in (implicit_gemm_weight_cpu, weight_cuts):
        monkeypatch.setattr(module, "far_caches", lambda: far)
    plan = implicit_gemm_weight_cpu.BackwardWeight(problem, 2, Tile(8, 2, problem.dtype))
    assert bool(plan.framing[-1]) == far
    with guarded(problem.weight_shape, problem.dtype) as out:
        plan(gradient, x, out)
    same(out, truth("backward_weight", problem, gradient, x), repr(problem))


@pytest.mark.skipif(SIMULATED, reason="a kernel of the CPU")
@pytest.mark.parametrize(("threads", "C", "groups"), [(1, 40, 2), (2, 40, 2), (2, 128, 8)])
def test_groups_meet_blocks_of_pixels_together(threads: int, C: int, groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Conv(3, C, 13, 12, C, 3, 3, padding=((1, 1), (1, 1)), groups=groups, layout="NHWC")
    gradient, x = operands("backward_weight", problem, integers)
    monkeypatch.setattr(weight_cuts, "caches", lambda: Caches(1 << 12, 1 << 17, 1 << 20))
    plan = implicit_gemm_weight_cpu.BackwardWeight(problem, threads, Tile(8, 2, problem.dtype))
    assert (plan.framing[0] == implicit_gemm_weight_cpu.FRAMED, plan.framing[-2]) == (groups == 8, True)
    assert plan.cuts.images * plan.cuts.parts < problem.N
    with guarded(problem.weight_shape, problem.dtype) as out:
        plan(gradient, x, out)
    same(out, truth("backward_weight", problem, gradient, x), repr(problem))


@pytest.mark.skipif(SIMULATED, reason="a kernel of the CPU")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_an_image_in_bands(stride: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of wide rows, whose first pixel is aligned in the frame, a few at a time, in a second pass with what the first left."""
    problem = Conv(1, 3, 83, 223, 20, 5, 4, (stride, stride), ((2, 1), (1, 2)), layout="NCHW")
    x, weight = operands("forward", problem, integers)
    monkeypatch.setattr(strips, "caches", lambda: Caches(1 << 12, 5 << 16, 1 << 20))
    plan = direct_cpu.Forward(problem, threads, Tile(8, 3, problem.dtype))
    assert plan.frames.shape[1] < 3 * (83 + 3) * (223 + 3)
    for _ in range(2):
        with guarded(problem.out_shape, problem.dtype) as out:
            plan(x, plan.pack(weight), out)
        same(out, truth("forward", problem, x, weight), repr(problem))


# Those for CUDA take weights as they are, which the public calls make contiguous.
PACKING = [k for k in KERNELS if k.direction != "backward_weight" and k.target != "cuda"]


@pytest.mark.parametrize(("kernel", "problem"), cases(PACKING, MIDDLE))
def test_packs_any_strides_again_and_again(kernel: Any, problem: Conv) -> None:
    first, weight = operands(kernel.direction, problem, integers)
    other = operands(kernel.direction, problem, integers, 3)[1]
    plan, (_, _, shape) = kernel.plan(problem, 1), shapes(kernel.direction, problem)
    outs = [np.empty(shape, problem.dtype) for _ in range(5)]
    packed = plan.pack(weight)
    plan(first, packed, outs[0])
    plan(first, packed, outs[1])
    packed = plan.pack(np.asfortranarray(other), packed)
    plan(first, packed, outs[2])
    spread = np.zeros((*weight.shape[:-1], 2 * weight.shape[-1]), weight.dtype)
    spread[..., ::2] = weight
    packed = plan.pack(spread[..., ::2], packed)
    plan(first, packed, outs[3])
    packed = plan.pack(weight[::-1, ::-1].copy()[::-1, ::-1], packed)
    plan(first, packed, outs[4])
    assert np.array_equal(outs[0], outs[1]), "a second call with the same packed weight differs"
    assert np.array_equal(outs[2], result(kernel, problem, first, other)), "column-major weights are packed wrongly"
    assert np.array_equal(outs[3], outs[0]), "weights with gaps are packed wrongly"
    assert np.array_equal(outs[4], outs[0]), "weights read backwards are packed wrongly"


@pytest.mark.parametrize(("kernel", "problem"), cases(DISTINCT, LARGER))
def test_same_bits_again_and_for_any_number_of_threads(kernel: Any, problem: Conv) -> None:
    if available_threads() < 2:
        pytest.skip("Numba has a single thread here (NUMBA_NUM_THREADS)")
    first, second = operands(kernel.direction, problem, normal)
    plan, alone = kernel.plan(problem, 2), kernel.plan(problem, 1)
    outs = [np.full(shapes(kernel.direction, problem)[2], np.nan, problem.dtype) for _ in range(3)]
    for which, out in zip((plan, plan, alone), outs, strict=True):
        launch(which, kernel.direction, first, second, out)
    assert np.array_equal(outs[0], outs[1]), "another call of the same plan gives other bits"
    assert np.array_equal(outs[0], outs[2]), "one thread gives other bits than two"
    within(outs[0], truth(kernel.direction, problem, first, second), bound(kernel, problem, first, second), kernel.name)


@pytest.mark.parametrize(
    ("algorithm", "layout", "window"), [("implicit_gemm", "NHWC", 1), ("implicit_gemm", "NHWC", 3), ("pointwise", "NCHW", 1)]
)
@pytest.mark.parametrize("direction", ["forward", "backward_input"])
def test_weights_are_packed_before_or_in_a_call(
    direction: str, algorithm: str, layout: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bits are the same, also where blocks of them stay in a small cache."""
    kernel = next(k for k in TABLES[direction] if k.algorithm == algorithm and k.target == "cpu")
    padding, several = ((window // 2, window // 2),) * 2, min(2, available_threads())
    problem = Conv(3, 70, 9, 7, 201, window, window, padding=padding, layout=layout)
    small = Caches(1 << 12, 1 << (16 if layout == "NHWC" else 20), 1 << 20)
    monkeypatch.setattr(import_module(kernel.plan.__module__), "caches", lambda: small)
    (first, weight), outs = operands(direction, problem, normal), []
    for threads, prepared, limit in ((1, True, None), (1, False, None), (several, False, None), (several, False, 0)):
        plan = kernel.made(problem, threads, prepared, limit)
        packed = plan.pack(weight)
        assert (packed is weight) == (not prepared and limit is None)
        outs.append(plan(first, packed, np.empty(shapes(direction, problem)[2], "float32")))
    assert all(np.array_equal(outs[0], out) for out in outs[1:])
    within(outs[0], truth(direction, problem, first, weight), bound(kernel, problem, first, weight), kernel.name)


@pytest.mark.parametrize("value", [np.nan, np.inf] if SIMULATED else [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize(("kernel", "problem"), cases(problems=MIDDLE))
def test_what_is_not_finite_stays_so(kernel: Any, problem: Conv, value: float) -> None:
    """The value stands where every tap meets it, so that what padding multiplies does not matter."""
    first, second = operands(kernel.direction, problem, normal)
    place = [size // 2 for size in first.shape]
    first[tuple(place)] = value
    with np.errstate(invalid="ignore"):
        expected = truth(kernel.direction, problem, first, second)
    assert not np.isfinite(expected).all()
    assert np.isfinite(expected).any()
    got = result(kernel, problem, first, second)
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    assert np.array_equal(got[np.isinf(expected)], expected[np.isinf(expected)])
    assert np.array_equal(np.isfinite(got), np.isfinite(expected))


@pytest.mark.parametrize("kernel", FORWARD, ids=lambda kernel: kernel.name)
def test_relu_keeps_nan(kernel: Any) -> None:
    for parameter in cases([kernel], MIDDLE):
        problem = parameter.values[1]
        x, weight = operands("forward", problem, normal)
        x[tuple(size // 2 for size in x.shape)] = np.nan
        got = result(kernel, problem, x, weight, activation="relu")
        assert np.isnan(got)[np.isnan(truth("forward", problem, x, weight))].all()


@pytest.mark.parametrize(
    ("kernel", "problem"), cases([kernel for kernel in KERNELS if kernel.target != "numpy"], {"large": LARGE})
)
def test_a_call_allocates_no_arrays(kernel: Any, problem: Conv) -> None:
    problem = in_layout(kernel, problem)
    first, second = operands(kernel.direction, problem, normal)
    plan, out = kernel.plan(problem, 1), np.empty(shapes(kernel.direction, problem)[2], problem.dtype)
    packed = second if kernel.direction == "backward_weight" else plan.pack(second)
    plan(first, packed, out)
    tracemalloc.start()
    try:
        plan(first, packed, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000, f"{kernel.name} allocated {peak} bytes; its output has {out.nbytes}"


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_workspace_is_declared(kernel: Any) -> None:
    for parameter in cases([kernel], MIDDLE):
        assert 0 <= kernel.plan(parameter.values[1], 1).workspace_bytes < 1 << 28


def test_guards_stand_where_a_kernel_writes_too_much() -> None:
    """The guard itself notices."""
    with pytest.raises(AssertionError, match="behind"), guarded((3, 5), "float32") as out:
        out.base[128 + 14 : 128 + 16] = 0
    with pytest.raises(AssertionError, match="never written"), guarded((3, 5), "float32") as out:
        out[:2] = 0

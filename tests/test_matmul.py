"""Every matrix product in the table against NumPy's in float64, and the public calls over them."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import naive
from fastconv_kernels import matmul
from fastconv_kernels.cpu.threads import available_threads
from fastconv_kernels.cpu.workspace import Caches, unwritten
from fastconv_kernels.matmul import blocked_cpu, operands, reference, unpacked_cpu, vector_cpu
from fastconv_kernels.problems import Matmul
from guarded import gamma, guarded, integers, normal, same, within
from targets import SIMULATED, here, small_enough

KERNELS = here(matmul.FORWARD)
NAMES = {kernel.name: kernel for kernel in KERNELS}
# Ones, primes, around tiles and vectors, one slice of K and a bit more, blocks of A and B, nothing at all.
SIZES = [
    *[(1, 1, 1), (1, 33, 5), (33, 1, 5), (7, 11, 1), (13, 31, 7), (14, 32, 256), (15, 33, 257), (6, 64, 16), (5, 63, 15)],
    *[(101, 103, 107), (343, 65, 521), (16, 1030, 40), (128, 10, 84), (0, 5, 5), (5, 0, 5), (5, 5, 0), (0, 0, 0)],
    *[(1, 300, 1401), (4, 131, 9), (2, 1, 70), (300, 1, 21), (1, 1, 130), (1, 5, 0), (5, 1, 0)],  # vectors and a few rows
]
if SIMULATED:  # one element, tails of copies and stores, a tile and a bit, a slice of K and a bit, nothing
    SIZES = [(1, 1, 1), (9, 12, 4), (33, 5, 6), (3, 34, 37), (2, 3, 0), (0, 5, 5)]
IN_DOUBLE = [(1, 33, 5), (13, 31, 7), (15, 33, 257), (343, 65, 521), (4, 131, 9), (33, 1, 5), (0, 5, 5), (5, 5, 0)]
"""In float64 the same code has other tiles; a few sizes show it, as each costs a compilation for every order of memory."""
if SIMULATED:
    IN_DOUBLE = SIZES
EPILOGUES = list(product([False, True], [False, True], [None, "relu"]))
if SIMULATED:  # each part alone, and all
    EPILOGUES = [(True, False, None), (False, True, "relu"), (True, True, "relu")]
ALIKE = {
    "tensor_core_bf16": [(9, 12, 4)],
    "tensor_core_fp16": [(3, 34, 37)],
    "warpgroup_tf32": [(9, 12, 4), (5, 3, 0)],
    "warpgroup_bf16": [(33, 5, 6)],
    "warpgroup_fp16": [(9, 12, 4)],
}
"""What is enough for algorithms that differ from another in the arithmetic of a product alone."""
DISTINCT = [kernel for kernel in KERNELS if not (SIMULATED and kernel.algorithm in ("tensor_core_split", *ALIKE))]
"""In the simulator, the kernels that differ from others in more than their arithmetic."""
TRANSPOSED = [(False, True), (True, False)] if SIMULATED else list(product([False, True], [False, True]))
WAYS = list(zip(TRANSPOSED, [integers, normal], strict=True)) if SIMULATED else list(product(TRANSPOSED, [integers, normal]))
"""Orders of memory, and what fills it: in the simulator each of both once."""


def cases(kernels: Any = KERNELS, sizes: Any = tuple(SIZES), dtype: str = "float32") -> list[Any]:
    """A pytest parameter (kernel, problem) for every size that a kernel does not refuse."""
    return [
        pytest.param(kernel, problem, id=f"{kernel.name}-{'x'.join(map(str, size))}-{dtype}")
        for kernel in kernels
        for size in sizes
        for problem in (Matmul(*size, dtype=dtype),)
        if size in ALIKE.get(kernel.algorithm, sizes) and small_enough(problem.flops) and not kernel.refuses(problem)
    ]


def operand(rng: Any, rows: int, columns: int, dtype: str, transposed: bool, fill: Any) -> Any:
    return fill(rng, (columns, rows), dtype).T if transposed else fill(rng, (rows, columns), dtype)


def agrees(name: str, problem: Matmul, transposed: tuple[bool, bool], fill: Any) -> None:
    """Assert that the kernel called ``name`` computes ``problem``: to the bit if it only sums and ``fill`` gives integers."""
    kernel, rng = NAMES[name], np.random.default_rng(0)
    a = operand(rng, problem.M, problem.K, problem.dtype, transposed[0], fill)
    b = operand(rng, problem.K, problem.N, problem.dtype, transposed[1], fill)
    before = a.copy(), b.copy()
    with guarded((problem.M, problem.N), problem.dtype) as out:
        kernel.plan(problem, 1)(a, b, out)
    exact = kernel.exact and fill is integers
    factor = kernel.accuracy + (problem.dtype == "float64")  # in float64 the truth is itself rounded
    sizes = abs(a).astype("float64") @ abs(b).astype("float64")
    repeat = f"from test_matmul import *; agrees({name!r}, {problem!r}, {transposed}, {fill.__name__})"
    within(
        out,
        a.astype("float64") @ b.astype("float64"),
        0.0 if exact else (factor * gamma(problem.K, problem.dtype) + kernel.product_error) * sizes,
        repeat,
    )
    assert np.array_equal(a, before[0]), "a was written"
    assert np.array_equal(b, before[1]), "b was written"


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 4, 5), (7, 2, 11), (0, 3, 2), (3, 0, 2), (3, 2, 0)], ids=str)
def test_the_reference_is_the_definition(size: tuple[int, int, int]) -> None:
    problem, rng = Matmul(*size, dtype="float64"), np.random.default_rng(0)
    a, b = integers(rng, (problem.M, problem.K), "float64"), integers(rng, (problem.K, problem.N), "float64")
    same(reference.forward(a, b, problem), naive.matmul(a, b), "reference.forward")


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_every_kernel_has_problems(kernel: Any) -> None:
    assert cases([kernel]), f"{kernel.name} refuses every size: none of the tests below runs it"


@pytest.mark.parametrize(("transposed", "fill"), WAYS, ids=[f"{transposed}-{fill.__name__}" for transposed, fill in WAYS])
@pytest.mark.parametrize(("kernel", "problem"), cases() + cases(sizes=IN_DOUBLE, dtype="float64"))
def test_agrees_with_numpy(kernel: Any, problem: Matmul, transposed: tuple[bool, bool], fill: Any) -> None:
    agrees(kernel.name, problem, transposed, fill)


@pytest.mark.parametrize(("bias", "residual", "activation"), EPILOGUES)
@pytest.mark.parametrize(
    ("kernel", "problem"), cases(DISTINCT, ((29, 36, 900), (1, 17, 3), (5, 3, 0), (3, 150, 901), (40, 1, 9)))
)
def test_epilogue(kernel: Any, problem: Matmul, bias: bool, residual: bool, activation: str | None) -> None:
    rng, (M, N, K) = np.random.default_rng(1), (problem.M, problem.N, problem.K)
    a, b, offset, addend = (integers(rng, shape, "float32") for shape in ((M, K), (K, N), (N,), (M, N)))
    expected = a.astype("float64") @ b + bias * offset + residual * addend
    with guarded((M, N), "float32") as out:
        kernel.plan(problem, 1)(a, b, out, offset if bias else None, addend if residual else None, activation)
    allowed = (
        0.0
        if kernel.exact
        else (kernel.accuracy * gamma(K + 2, "float32") + kernel.product_error) * (abs(a) @ abs(b) + abs(offset) + abs(addend))
    )
    within(
        out, np.maximum(expected, 0) if activation else expected, allowed, f"{kernel.name} {bias=} {residual=} {activation=}"
    )
    if residual:  # the output may be the addend
        kernel.plan(problem, 1)(a, b, addend, offset if bias else None, addend, activation)
        same(addend, out, f"{kernel.name} residual=out {bias=} {activation=}")


@pytest.mark.parametrize(
    ("kernel", "problem"), cases(sizes=((300, 200, 700), (40, 1492, 200), (2000, 24, 50), (1, 1500, 400), (900, 1, 700)))
)
def test_same_bits_again_and_for_any_number_of_threads(kernel: Any, problem: Matmul) -> None:
    if available_threads() < 2:
        pytest.skip("Numba has a single thread here (NUMBA_NUM_THREADS)")
    rng = np.random.default_rng(3)
    a, b = normal(rng, (problem.M, problem.K), "float32"), normal(rng, (problem.K, problem.N), "float32")
    plan, alone = kernel.plan(problem, 2), kernel.plan(problem, 1)
    outs = [np.full((problem.M, problem.N), np.nan, "float32") for _ in range(3)]
    for which, out in zip((plan, plan, alone), outs, strict=True):
        which(a, b, out)
    assert np.array_equal(outs[0], outs[1]), "another call of the same plan gives other bits"
    assert np.array_equal(outs[0], outs[2]), "one thread gives other bits than two"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("place", [(0, 0), (20, 300), (36, 598)], ids=str)
@pytest.mark.parametrize(("kernel", "problem"), cases(sizes=((37, 36, 599), (3, 36, 599))))
def test_what_is_not_finite_stays_so(kernel: Any, problem: Matmul, place: tuple[int, int], value: float) -> None:
    rng = np.random.default_rng(4)
    a, b = normal(rng, (problem.M, problem.K), "float32"), normal(rng, (problem.K, problem.N), "float32")
    place = min(place[0], problem.M - 1), place[1]
    a[place] = value
    b[place[1], 35] = 0.0  # infinity times zero
    with np.errstate(invalid="ignore"):
        expected = a.astype("float64") @ b.astype("float64")
    for activation in (None, "relu"):
        with guarded((problem.M, problem.N), "float32", complete=False) as out, np.errstate(invalid="ignore"):
            kernel.plan(problem, 1)(a, b, out, activation=activation)
        wanted = np.maximum(expected, 0) if activation else expected
        assert np.array_equal(np.isnan(out), np.isnan(wanted))
        assert np.array_equal(np.isposinf(out), np.isposinf(wanted))
        assert np.array_equal(np.isneginf(out), np.isneginf(wanted))


STACKS = [((3,), ()), ((), (3,)), ((9,), (9,)), ((2, 1), (4,)), ((0,), (0,)), ((1, 3), (2, 1))]
if SIMULATED:
    STACKS = [((2, 1), (2,))]


@pytest.mark.parametrize("transposed", TRANSPOSED, ids=str)
@pytest.mark.parametrize("stacks", STACKS, ids=str)
@pytest.mark.parametrize(("kernel", "problem"), cases(DISTINCT, ((19, 21, 5), (1, 37, 8), (3, 0, 2))))
def test_stacks(kernel: Any, problem: Matmul, stacks: Any, transposed: tuple[bool, bool]) -> None:
    problem, rng = replace(problem, a_stack=stacks[0], b_stack=stacks[1]), np.random.default_rng(9)
    a, b = (
        integers(rng, (*shape[:-2], shape[-1], shape[-2]), "float32").swapaxes(-2, -1)
        if turned
        else integers(rng, shape, "float32")
        for shape, turned in zip((problem.a_shape, problem.b_shape), transposed, strict=True)
    )
    bias, residual = integers(rng, problem.N, "float32"), integers(rng, problem.out_shape, "float32")
    for threads in {1, 1 if SIMULATED else min(2, available_threads())}:
        with guarded(problem.out_shape, "float32") as out:
            kernel.plan(problem, threads)(a, b, out, bias, residual, "relu")
        same(out, np.maximum(a @ b + bias + residual, 0), f"{kernel.name} {stacks=} {transposed=} {threads=}")


@pytest.mark.parametrize(
    ("kernel", "problem"), cases([kernel for kernel in KERNELS if kernel.target != "numpy"], ((300, 200, 700),))
)
def test_a_call_allocates_no_arrays(kernel: Any, problem: Matmul) -> None:
    rng = np.random.default_rng(5)
    a, b = normal(rng, (problem.M, problem.K), "float32"), normal(rng, (problem.K, problem.N), "float32")
    plan, out = kernel.plan(problem, 1), np.empty((problem.M, problem.N), "float32")
    plan(a, b, out)
    tracemalloc.start()
    try:
        plan(a, b, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000, f"{kernel.name} allocated {peak} bytes; its output has {out.nbytes}"


SHAPES = [
    *[((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4))],
    *[
        ((5, 1, 2, 3), (6, 3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((3,), (5, 3, 4)),
        ((5, 2, 3), (3,)),
        ((0, 2, 3), (3, 4)),
        ((2, 0), (0, 4)),
        ((0, 3), (3, 4)),
    ],
]


@pytest.mark.parametrize(("a_shape", "b_shape"), SHAPES, ids=str)
def test_matmul_has_numpys_rules(a_shape: tuple[int, ...], b_shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(6)
    a, b = integers(rng, a_shape, "float32"), integers(rng, b_shape, "float32")
    same(fc.matmul(a, b), np.matmul(a, b), "fc.matmul")
    out = np.full(np.matmul(a, b).shape, np.nan, "float32")
    assert fc.matmul(a, b, out=out) is out
    same(out, np.matmul(a, b), "fc.matmul(out=)")


def test_products_with_vectors_of_any_strides() -> None:
    rng = np.random.default_rng(10)
    a = integers(rng, (40, 60), "float32")
    for matrix in (a, a.T.copy().T, a[::2], a[:, ::3]):
        for row in (integers(rng, matrix.shape[0], "float32"), a[: matrix.shape[0], 5]):
            same(fc.matmul(row, matrix), row @ matrix, f"a vector times {matrix.strides}")
        for column in (integers(rng, matrix.shape[1], "float32"), integers(rng, (matrix.shape[1], 3), "float32")[:, 1]):
            same(fc.matmul(matrix, column), matrix @ column, f"{matrix.strides} times a vector")
            same(fc.matmul(matrix, column[:, None])[:, 0], matrix @ column, f"{matrix.strides} times a column")


@pytest.mark.skipif(SIMULATED, reason="of the CPU")
@pytest.mark.parametrize("size", [(1, 2100, 21), (4, 2100, 13), (1, 17000, 7)], ids=str)
def test_vectors_times_a_matrix_near_and_far(size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows are read at once depends on the cache that holds the matrix, the order of no sum does."""
    problem, rng, found = Matmul(*size), np.random.default_rng(12), []
    a, b = normal(rng, problem.a_shape, "float32"), normal(rng, problem.b_shape, "float32")
    monkeypatch.setattr(vector_cpu, "far_caches", lambda: False)
    for sizes in (Caches(level3=1 << 30), Caches(level3=0)):
        monkeypatch.setattr(vector_cpu, "caches", lambda sizes=sizes: sizes)
        with guarded(problem.out_shape, "float32") as out:
            vector_cpu.VectorMatmul(problem)(a, b, out, activation="relu")
        found.append(out.copy())
    same(found[0], found[1], "from memory")
    exact, bound = a.astype("float64") @ b.astype("float64"), gamma(problem.K, "float32") * (abs(a) @ abs(b))
    within(found[0], np.maximum(exact, 0), bound, "a @ b")


@pytest.mark.skipif(SIMULATED, reason="of the CPU")
@pytest.mark.parametrize("far", [False, True])
def test_few_rows_times_a_matrix_near_and_far(far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows of B are read at once depends on how far it is, and the tile on the second cache.

    The same product as one of transposes has few columns.
    """
    monkeypatch.setattr(unpacked_cpu, "far_caches", lambda: far)
    monkeypatch.setattr(unpacked_cpu, "caches", lambda: Caches(level2=1 << 14))
    problem, rng = Matmul(7, 290, 61), np.random.default_rng(13)
    assert unpacked_cpu.reads_once(problem) == far
    a, b = integers(rng, problem.a_shape, "float32"), integers(rng, problem.b_shape, "float32")
    with guarded(problem.out_shape, "float32") as out:
        unpacked_cpu.UnpackedMatmul(problem)(a, b, out)
    same(out, a @ b, f"far: {far}")
    turned = Matmul(problem.N, problem.M, problem.K)
    with guarded(turned.out_shape, "float32") as out:
        unpacked_cpu.UnpackedMatmul(turned)(b.T, a.T, out)
    same(out, (a @ b).T, f"few columns, far: {far}")


@pytest.mark.skipif(SIMULATED, reason="of the CPU")
@pytest.mark.parametrize("size", [(25, 7, 64), (9, 3, 21)], ids=str)
def test_few_columns_of_a_matrix_from_far(size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are asked for while those before them are multiplied, and nothing else differs."""
    monkeypatch.setattr(unpacked_cpu, "caches", lambda: Caches(level2=1 << 8))
    problem, rng = Matmul(*size), np.random.default_rng(15)
    a, b = integers(rng, problem.a_shape, "float32"), integers(rng, problem.b_shape, "float32")
    with guarded(problem.out_shape, "float32") as out:
        unpacked_cpu.UnpackedMatmul(problem)(a, b, out)
    same(out, a @ b, "asked for")


@pytest.mark.skipif(SIMULATED, reason="of the CPU")
@pytest.mark.parametrize("threads", [1, 2])
def test_results_past_the_caches(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those that are not written so, wherever C begins, and though it is the addend."""
    if available_threads() < threads:
        pytest.skip("Numba has a single thread here (NUMBA_NUM_THREADS)")
    problem, rng = Matmul(129, 208, 40), np.random.default_rng(15)
    monkeypatch.setattr(operands, "threads_for", lambda *_: threads)
    a, b, bias = (normal(rng, shape, "float32") for shape in (problem.a_shape, problem.b_shape, problem.N))
    addend, outs = normal(rng, problem.out_shape, "float32"), []
    for past in (False, True):
        monkeypatch.setattr(blocked_cpu, "goes_past", lambda *_, past=past: past)
        plan = blocked_cpu.BlockedMatmul(problem, threads)
        for skip in (0, 3):
            out = unwritten(addend.size + skip, "float32")[skip:].reshape(addend.shape)
            out[:] = addend
            outs.append(plan(a, b, out, bias, out, "relu"))
    for out in outs[1:]:
        same(out, outs[0], "past the caches")
    within(outs[0], np.maximum(a.astype("float64") @ b + bias + addend, 0), gamma(42, "float32") * (abs(a) @ abs(b) + 8), "")


def test_matmul_takes_any_strides() -> None:
    rng = np.random.default_rng(7)
    a, b = integers(rng, (20, 30), "float64"), integers(rng, (30, 24), "float64")
    locked = a.copy()
    locked.flags.writeable = False
    wide = np.zeros((40, 64))
    wide[::2, 7:37] = a
    for left in (
        *(np.asfortranarray(a), a[::-1, ::-1].copy()[::-1, ::-1], np.repeat(a, 2, 1)[:, ::2], locked, a.astype(">f8")),
        *(wide[::2, 7:37], a[::-1].copy()[::-1], np.repeat(a[None], 2, 0)[1]),
    ):
        for right in (b, np.asfortranarray(b), np.repeat(b, 2, 0)[::2]):
            same(fc.matmul(left, right), a @ b, f"strides {left.strides} and {right.strides}")


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("leading", [(), (7,), (2, 3), (0,)], ids=str)
def test_linear(leading: tuple[int, ...], activation: str | None) -> None:
    rng = np.random.default_rng(8)
    x, weight, bias = (integers(rng, shape, "float32") for shape in ((*leading, 20), (9, 20), (9,)))
    residual = integers(rng, (*leading, 9), "float32")
    expected = x @ weight.T + bias + residual
    got = fc.linear(x, weight, bias, residual=residual, activation=activation)
    same(got, np.maximum(expected, 0) if activation else expected, "fc.linear")
    same(fc.linear(x, weight), x @ weight.T, "fc.linear")

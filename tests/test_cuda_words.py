"""The GPU's words in Numba's simulator against what they mean, and the unroller: small matrices, late copies, constants."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from targets import SIMULATED

if not SIMULATED:
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported", allow_module_level=True)

from numba import cuda, float32, uint32

from fastconv_kernels.cuda import ceilings, copies, matrices, memory
from fastconv_kernels.cuda.arrays import view
from fastconv_kernels.cuda.launch import start
from fastconv_kernels.cuda.unrolling import unroll, unrolled
from fastconv_kernels.matmul import simt_cuda, tensor_core_cuda, warpgroup_cuda
from fastconv_kernels.problems import Matmul
from guarded import guarded, integers, same

LANE = np.arange(32)
GROUP, MEMBER = LANE // 4, LANE % 4


def one_warp(kernel: Any, *arrays: Any) -> None:
    cuda.jit(kernel)[1, 32](*arrays)


def gathered(registers: Any) -> Any:
    """(16, 8) from what each lane holds of a product."""
    out = np.zeros((16, 8), "float32")
    for register, (row, column) in enumerate([(0, 0), (0, 1), (8, 0), (8, 1)]):
        out[GROUP + row, 2 * MEMBER + column] = registers[:, register]
    return out


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_products_of_two_byte_elements(dtype: str) -> None:
    rng = np.random.default_rng(0)
    A, B = integers(rng, (16, 16), "float32"), integers(rng, (16, 8), "float32")
    halves = {
        "bf16": lambda matrix: (matrix.view(np.uint32) >> 16).astype(np.uint16),
        "f16": lambda matrix: matrix.astype("float16").view(np.uint16),
    }
    a, b = halves[dtype](A), np.ascontiguousarray(halves[dtype](B).T)
    multiply = {"bf16": matrices.multiply_bf16, "f16": matrices.multiply_f16}[dtype]
    corners = [(0, 0), (8, 0), (0, 8), (8, 8)]
    a_registers = np.stack([a[GROUP + row, 2 * MEMBER + column + half] for row, column in corners for half in (0, 1)], axis=1)
    b_registers = np.stack([b[GROUP, 2 * MEMBER + row + half] for row in (0, 8) for half in (0, 1)], axis=1)
    a_words, b_words = (np.ascontiguousarray(parts).view(np.uint32) for parts in (a_registers, b_registers))
    out = np.ones((32, 4), "float32")

    def kernel(out: Any, a: Any, b: Any) -> None:
        multiply(out[cuda.threadIdx.x], a[cuda.threadIdx.x], b[cuda.threadIdx.x])

    one_warp(kernel, out, a_words, b_words)
    same(gathered(out), A @ B + 1, f"multiply_{dtype}")


def test_matrices_are_loaded_transposed() -> None:
    tile = np.arange(4 * 8 * 8, dtype=np.uint16).reshape(4, 8, 8)
    out = np.zeros((32, 4), np.uint32)

    def kernel(out: Any, source: Any) -> None:
        shared = cuda.shared.array(128, uint32)
        lane = cuda.threadIdx.x
        for i in range(4):
            shared[4 * lane + i] = source[4 * lane + i]
        memory.meet_block()
        matrices.load_matrices_transposed(out[lane], memory.shared_at(shared, 4 * lane))

    one_warp(kernel, out, tile.view(np.uint32).ravel())
    for matrix in range(4):
        pairs = out[:, matrix].copy().view(np.uint16).reshape(32, 2)
        assert np.array_equal(pairs[:, 0], tile[matrix, 2 * MEMBER, GROUP])
        assert np.array_equal(pairs[:, 1], tile[matrix, 2 * MEMBER + 1, GROUP])


def test_a_split_number_is_whole() -> None:
    values = np.random.default_rng(1).standard_normal(1000).astype("float32")
    high, low = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
    for value in values:
        matrices.split_into_tf32(high, low, np.array([value]).view(np.uint32))
        parts = high.view("float32")[0], low.view("float32")[0]
        assert high[0] & 0x1FFF == 0
        assert float(parts[0]) + float(parts[1]) == float(value)
        assert abs(parts[1]) <= 1.28 * 2**-11 * abs(value)


def test_what_is_not_waited_for_has_not_arrived() -> None:
    seen = np.zeros(3, "float32")

    def kernel(seen: Any, source: Any) -> None:
        shared = cuda.shared.array(4, float32)
        copies.copy_16_bytes(memory.shared_at(shared, 0), memory.source_at(source, 0, True), True)
        copies.commit_copies()
        seen[0] = shared[0]
        copies.wait_copies(0)
        seen[1] = shared[0]
        copies.copy_16_bytes(memory.shared_at(shared, 0), memory.source_at(source, 99, False), False)
        copies.commit_copies()
        copies.wait_copies(0)
        seen[2] = shared[0]

    cuda.jit(kernel)[1, 1](seen, np.full(4, 5, "float32"))
    assert np.isnan(seen[0])
    assert seen[1:].tolist() == [5, 0]


@pytest.mark.parametrize("plan", [simt_cuda.Matmul, tensor_core_cuda.Tf32, tensor_core_cuda.Split])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_every_tile(plan: Any, which: int) -> None:
    """The first two tiles are for sizes that the simulator would take minutes for: one block, the last rows beyond it."""
    tile = plan.keywords["tiles"][which]
    problem, rng = Matmul(tile.rows + 1, 5, 6), np.random.default_rng(2)
    a, b = integers(rng, (problem.M, problem.K), "float32"), integers(rng, (problem.K, problem.N), "float32")
    with guarded((problem.M, problem.N), "float32") as out:
        plan(problem, 1, tile=tile)(a, b, out)
    same(out, a @ b, f"{plan} with {tile}")


@pytest.mark.parametrize("precision", ["Tf32", "Bf16"])
def test_a_block_that_stays_for_several_tiles(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tiles one after the other, the ring of stages more than once around, the last slice and the last rows ragged."""
    monkeypatch.setattr(warpgroup_cuda, "MULTIPROCESSORS", 1)
    problem, rng = Matmul(130, 5, 130 if precision == "Tf32" else 260), np.random.default_rng(3)
    a, b = integers(rng, (problem.M, problem.K), "float32"), integers(rng, (problem.K, problem.N), "float32")
    with guarded((problem.M, problem.N), "float32") as out:
        getattr(warpgroup_cuda, precision)(problem)(a, b, out)
    same(out, a @ b, precision)


def test_lanes_that_part_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastconv_kernels.cuda.lanes.PATIENCE_S", 0.2)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def kernel(out: Any) -> None:
        if cuda.threadIdx.x:  # one lane does not come
            matrices.load_matrices(out[cuda.threadIdx.x], memory.shared_at(np.zeros(4, np.uint32), 0))

    with pytest.raises(RuntimeError, match="lanes of a warp came"):
        one_warp(kernel, np.zeros((32, 4), np.uint32))


STEP = 3


def test_constants_are_written_out() -> None:
    size = (2, 4)

    def function(out: list[int], flag: int) -> None:
        for i in unroll(0, size[1] * STEP, STEP):
            for j in unroll(i, i + 1):
                if size[0] == 2:
                    out.append(j)
                else:
                    out.append(-j)
        if flag:
            out.append(100)

    made: list[int] = []
    unrolled(function)(made, 1)
    assert made == [0, 3, 6, 9, 100]
    assert "size" not in unrolled(function).__code__.co_freevars, "nothing is left to be read from outside"

    def endless(flag: int) -> None:
        for _ in unroll(flag):
            pass

    with pytest.raises(SyntaxError, match="not known beforehand"):
        unrolled(endless)


def test_what_nothing_surpasses() -> None:
    source, target = np.arange(103, dtype="float32"), np.zeros(103, "float32")
    call, moved = ceilings.copying(source, target)
    call()
    same(target, source, "copied")
    assert moved == 2 * source.nbytes
    for precision, each in (("fp32", 2 * 4 * 16 * 32), ("tf32", 2 * 8 * 16 * 8 * 8), ("bf16", 2 * 8 * 16 * 8 * 16)):
        out = np.zeros(ceilings.outputs(), "float32")
        call, flops = ceilings.peak(out, precision)
        call()
        assert flops == ceilings.STEPS * each
        assert precision == "fp32" or np.all(out == 4 * ceilings.FRAGMENTS), "products of zeros are added to ones"
    out = np.zeros(2 * 128, "float32")
    start(ceilings.group_products("tf32"), 1, (view(out),), (2,))
    assert np.all(out == 128)

"""Results that go past the caches are those that do not, bit for bit, wherever an array begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv_kernels.cpu.past import PIECE
from fastconv_kernels.elementwise import loop_cpu
from fastconv_kernels.norm import columns_cpu
from fastconv_kernels.problems import BatchNorm, Elementwise
from guarded import guarded, normal, same

SIZE = 2 * PIECE + 37
NORMS = [BatchNorm(2, 16, 49), BatchNorm(3, 5, 70, "float32", "NCHW"), BatchNorm(2, 24, 30, "float64")]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def both(module: Any, monkeypatch: pytest.MonkeyPatch, make: Any) -> list[Any]:
    """The plan as it is for small arrays, and as for large ones."""
    near = make()
    with monkeypatch.context() as patch:
        patch.setattr(module, "goes_past", lambda *_: True)
        return [near, make()]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", ["relu", "tanh"])
def test_activations(
    function: str, dtype: str, threads: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_cpu, "GRAIN", SIZE // 2)
    problem = Elementwise(function, SIZE, dtype)
    x, grad = (normal(rng, SIZE + 3, dtype)[3:] for _ in range(2))
    for kind, inputs in ((loop_cpu.Forward, (x,)), (loop_cpu.BackwardInput, (grad, x, np.abs(x)))):
        results = []
        for plan in both(loop_cpu, monkeypatch, lambda kind=kind: kind(problem, threads)):
            with guarded(SIZE, dtype) as out:
                plan(*inputs, out)
                results.append(out.copy())
        same(results[1], results[0], f"{kind.__name__}({problem}, {threads})")
        inside = inputs[0].copy()  # the output may be the first input
        plan(inside, *inputs[1:], inside)
        same(inside, results[0], f"{kind.__name__}({problem}, {threads}) in place")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("problem", NORMS, ids=str)
def test_normalisation(problem: BatchNorm, threads: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_cpu, "PART", problem.size // 3)
    size, C, dtype = problem.size, problem.channels, problem.dtype
    x, residual, grad, y = (normal(rng, size, dtype) for _ in range(4))
    weight, bias = normal(rng, C, dtype), normal(rng, C, dtype)
    forward, backward = (
        both(columns_cpu, monkeypatch, lambda kind=kind: kind(problem, threads))
        for kind in (columns_cpu.Forward, columns_cpu.Backward)
    )
    results = []
    for there, back in zip(forward, backward, strict=True):
        mean, inverse, grad_weight, grad_bias = (np.zeros(C, dtype) for _ in range(4))
        with guarded(size, dtype) as out, guarded(size, dtype) as dx, guarded(size, dtype) as passed:
            there(x, weight, bias, out, mean, inverse, None, None, residual, True)
            back(grad, x, weight, mean, inverse, dx, grad_weight, grad_bias, y, passed)
            results.append([array.copy() for array in (out, mean, inverse, dx, grad_weight, grad_bias, passed)])
    assert [plan.past for plan in (*forward, *backward)] == [False, True] * 2
    for near, far in zip(*results, strict=True):
        same(far, near, f"{problem}, {threads}")

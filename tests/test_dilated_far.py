"""Implicit matrix products under a window that is dilated far: taps in the padding left out, channels in chunks."""

from __future__ import annotations

import numpy as np
import pytest

import guarded
from conv_cases import NAMES, PROBLEMS, launch, operands, shapes, truth
from fastconv_kernels.conv import implicit_gemm_chunks_cpu, inside
from fastconv_kernels.conv.geometry import forward_axes, transposed_axes
from fastconv_kernels.conv.reference import Forward
from targets import SIMULATED

if SIMULATED:
    pytest.skip("of the CPU", allow_module_level=True)

FAR = PROBLEMS["dilated far"]


def test_what_is_left_out() -> None:
    assert inside.inside(FAR, *forward_axes(FAR))
    assert inside.inside(FAR, *transposed_axes(FAR))
    near = PROBLEMS["dilated patches"]
    assert not inside.inside(near, *forward_axes(near))
    assert inside.computed(FAR, "forward") == pytest.approx((9 + 3 + 3) * (11 + 6 + 6) / (27 * 33))


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("direction", ["forward", "backward_input"])
def test_channels_in_chunks(direction: str, layout: str, prepared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implicit_gemm_chunks_cpu, "chunks_of", lambda *about: 5)
    kernel, problem = NAMES[f"conv_{direction}__implicit_gemm_cpu"], FAR.with_layout(layout)
    first, second = operands(direction, problem, guarded.integers)
    expected = truth(direction, problem, first, second)
    for threads in (1, 2):
        plan, out = kernel.made(problem, threads, prepared), np.full(shapes(direction, problem)[2], np.nan, "float32")
        assert plan.chunks == 5
        launch(plan, direction, first, second, out)
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_epilogue_of_chunks(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implicit_gemm_chunks_cpu, "chunks_of", lambda *about: 5)
    problem = FAR.with_layout(layout)
    x, weight = operands("forward", problem, guarded.integers)
    rng = np.random.default_rng(1)
    bias = guarded.integers(rng, (problem.K,), "float32")
    residual = guarded.integers(rng, problem.out_shape, "float32")
    plan, plain, got = NAMES["conv_forward__implicit_gemm_cpu"].made(problem, 1), Forward(problem, 1), np.empty_like(residual)
    plan(x, plan.pack(weight), got, bias, residual, "relu")
    expected = np.empty_like(residual)
    plain(x, plain.pack(weight), expected, bias, residual, "relu")
    assert np.array_equal(got, expected)

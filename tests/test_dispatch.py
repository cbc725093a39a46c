"""Requests: arguments over use() over the environment over the ranking; plans lent to one call at a time; explanations."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import dispatch
from fastconv.dispatch import Conv, Rows, choose, leased, plan_for, use
from fastconv.errors import ArgumentError, TargetUnavailableError, UnsupportedError
from fastconv.settings import ACCURACIES
from fastconv_kernels import registry
from guarded import integers

PROBLEM = Conv(1, 16, 12, 12, 32, 3, 3, padding=((1, 1), (1, 1)), layout="NHWC")


def chosen(**request: Any) -> tuple[str, str]:
    kernel = choose("conv", "forward", PROBLEM, **request)
    return kernel.algorithm, kernel.target


@pytest.fixture(autouse=True)
def _no_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TARGET", "ALGORITHM", "THREADS", "ACCURACY"):
        monkeypatch.delenv(f"FASTCONV_{name}", raising=False)


def test_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    ranking = chosen()
    assert ranking[1] == "cpu"
    monkeypatch.setenv("FASTCONV_TARGET", "numpy")
    assert chosen() == ("reference", "numpy")
    with use(target="cpu"):
        assert chosen() == ranking
        assert chosen(target="numpy") == ("reference", "numpy")
        with use(algorithm="implicit_gemm"):
            assert chosen() == ("implicit_gemm", "cpu")
        with use(target="auto"):
            assert chosen() == ranking
        assert chosen() == ranking
    assert chosen() == ("reference", "numpy")
    monkeypatch.setenv("FASTCONV_TARGET", "")
    monkeypatch.setenv("FASTCONV_ALGORITHM", "implicit_gemm")
    assert chosen() == ("implicit_gemm", "cpu")
    assert chosen(algorithm="auto") == ranking


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TARGET", "gpu", "FASTCONV_TARGET: expected one of"),
        ("THREADS", "two", "FASTCONV_THREADS: expected an integer"),
        ("THREADS", "0", "FASTCONV_THREADS: expected an integer"),
        ("ACCURACY", "best", "FASTCONV_ACCURACY: expected one of"),
        ("ALGORITHM", "magic", "algorithm: expected one of"),
    ],
)
def test_a_wrong_environment_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(f"FASTCONV_{name}", value)
    with pytest.raises(ArgumentError) as raised:
        chosen()
    assert message in str(raised.value)


def test_cuda_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for ask in (lambda: use(target="cuda"), lambda: chosen(target="cuda")):
        with pytest.raises(TargetUnavailableError, match=r"^target: cuda cannot be used: .*(driver|do not reach)"):
            ask()
    monkeypatch.setenv("FASTCONV_TARGET", "cuda")
    with pytest.raises(TargetUnavailableError, match="FASTCONV_TARGET"):
        chosen()


def test_an_algorithm_of_another_operator_is_none_of_this_ones() -> None:
    unasked = chosen()
    with use(algorithm="blocked"):
        assert choose("matmul", "forward", dispatch.Matmul(4, 5, 6)).algorithm == "blocked"
        assert chosen() == unasked
    with pytest.raises(ArgumentError, match=r"^algorithm: expected one of"):
        chosen(algorithm="blocked")
    with use(algorithm="no such algorithm"), pytest.raises(ArgumentError, match=r"^algorithm: expected one of"):
        chosen()


def test_exact_takes_only_sums() -> None:
    assert choose("conv", "forward", PROBLEM, accuracy="exact").exact
    with use(accuracy="exact"):
        assert choose("conv", "forward", PROBLEM).exact
    for kernel in dispatch.kernels("conv", "forward"):
        if kernel.target != "cpu" or kernel.exact or kernel.refuses(PROBLEM):
            continue
        with pytest.raises(UnsupportedError, match="times that of a plain sum"):
            choose("conv", "forward", PROBLEM, algorithm=kernel.algorithm, accuracy="exact")


def test_accuracies_are_those_of_the_kernels() -> None:
    assert tuple(registry.ACCURACIES) == ACCURACIES
    limits = [choose("conv", "forward", PROBLEM, accuracy=accuracy).accuracy for accuracy in ACCURACIES]
    assert all(found <= allowed for found, allowed in zip(limits, registry.ACCURACIES.values(), strict=True))


def test_requests_stay_in_their_thread() -> None:
    with use(target="numpy"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(chosen).result() != ("reference", "numpy")
        assert chosen() == ("reference", "numpy")


def test_a_workspace_may_be_limited() -> None:
    x, weight = np.ones((1, 16, 12, 12), "f4"), np.ones((32, 16, 3, 3), "f4")
    needed = fc.plan_conv2d(x.shape, weight.shape).workspace_bytes
    assert needed > 0
    assert fc.plan_conv2d(x.shape, weight.shape, max_workspace_bytes=needed).workspace_bytes == needed
    assert fc.plan_conv2d(x.shape, weight.shape, max_workspace_bytes=needed - 1).workspace_bytes < needed
    assert fc.plan_conv2d(x.shape, weight.shape, max_workspace_bytes=0).workspace_bytes == 0
    with pytest.raises(UnsupportedError, match=r"needs a workspace of .* bytes, max_workspace_bytes is 0"):
        fc.conv2d(x, weight, max_workspace_bytes=0, target="cpu")


def test_threads() -> None:
    with use(threads=1):
        assert fc.plan_conv2d((1, 16, 12, 12), (32, 16, 3, 3)).threads == 1
    with pytest.raises(ArgumentError, match=r"^threads: expected at most"):
        plan_for("conv", "forward", PROBLEM, threads=100_000)
    assert plan_for("conv", "forward", PROBLEM, threads=1).threads == 1


def test_plan_for_is_a_new_plan_of_the_problems_layout() -> None:
    first, second = (plan_for("conv", "forward", PROBLEM) for _ in range(2))
    assert first is not second
    assert first.problem == PROBLEM
    ranked = dispatch.kernels("conv", "backward_weight")
    only = next(kernel for kernel in ranked if kernel.layout == "NHWC" and not kernel.refuses(PROBLEM))
    with pytest.raises(UnsupportedError, match="takes images in NHWC alone, not in NCHW"):
        plan_for("conv", "backward_weight", PROBLEM.with_layout("NCHW"), algorithm=only.algorithm)


def test_a_leased_plan_is_ones_own() -> None:
    with leased("conv", "forward", PROBLEM) as first:
        with leased("conv", "forward", PROBLEM) as second:
            assert first is not second
        with leased("conv", "forward", PROBLEM) as third:
            assert third is second, "a plan that was given back is lent again"
    with leased("conv", "forward", PROBLEM, target="numpy") as other:
        assert type(other) is not type(first)
    with pytest.raises(RuntimeError, match="half-way"), leased("conv", "forward", PROBLEM) as broken:
        raise RuntimeError("half-way")
    with leased("conv", "forward", PROBLEM) as fourth, leased("conv", "forward", PROBLEM) as fifth:
        assert broken not in (fourth, fifth), "a plan is lent again after an error inside it"


def test_unknown_operators() -> None:
    with pytest.raises(ArgumentError, match=r"^operator: expected one of"):
        choose("convolution", "forward", PROBLEM)


def test_calls_from_many_threads() -> None:
    rng = np.random.default_rng(0)
    x, weight = integers(rng, (2, 8, 16, 15), "float32"), integers(rng, (24, 8, 3, 3), "float32")
    expected = [fc.conv2d(x + shift, weight, padding=1, accuracy="exact") for shift in range(4)]
    plan = fc.plan_conv2d(x.shape, weight.shape, padding=1, accuracy="exact")
    packed, start = plan.pack(weight), threading.Barrier(4)

    def work(shift: int) -> bool:
        start.wait()
        return all(
            np.array_equal(result, expected[shift])
            for _ in range(20)
            for result in (fc.conv2d(x + shift, weight, padding=1, accuracy="exact"), plan(x + shift, packed))
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_explain() -> None:
    shown = fc.explain(fc.conv2d, np.ones((2, 4, 8, 9), "f4"), (6, 4, 3, 3), padding=1)
    assert shown.problem == Conv(2, 4, 8, 9, 6, 3, 3, padding=((1, 1), (1, 1)))
    assert [answer.name for answer in shown.walk] == [kernel.name for kernel in dispatch.kernels("conv", "forward")]
    takers = [answer for answer in shown.walk if not answer.objections and answer.predicted is not None]
    assert shown.chosen == min(takers, key=lambda answer: answer.predicted).name
    text = str(shown)
    for kernel in dispatch.kernels("conv", "forward"):
        assert kernel.name in text
    assert f"{shown.flops:,} flop" in text
    assert f"workspace {shown.workspace_bytes:,} bytes" in text
    nothing = fc.explain(PROBLEM, target="numpy", algorithm="implicit_gemm")
    assert nothing.chosen is None
    assert "no kernel computes it as asked" in str(nothing)
    assert all(answer.objections for answer in nothing.walk)


def test_explain_takes_calls_problems_and_plans() -> None:
    gradients = {fc.conv2d_backward_input: ((2, 6, 6, 7), (6, 4, 3, 3), (2, 4, 8, 9))}
    gradients[fc.conv2d_backward_weight] = ((2, 6, 6, 7), (2, 4, 8, 9), (6, 4, 3, 3))
    for function, shapes in gradients.items():
        shown = fc.explain(function, *shapes)
        assert f"conv2d_{shown.direction}" == function.__name__
        assert shown.problem == Conv(2, 4, 8, 9, 6, 3, 3)
    plan = fc.plan_conv2d((2, 4, 8, 9), (6, 4, 3, 3))
    assert fc.explain(plan).chosen == plan.name
    assert fc.explain(fc.matmul, (5, 3), (3, 2), dtype="f8").problem == dispatch.Matmul(5, 2, 3, "float64")
    assert fc.explain(Rows(4, 10), operator="softmax").operator == "softmax"
    with pytest.raises(ArgumentError, match=r"^what: expected"):
        fc.explain(PROBLEM, 3)
    for keywords in ({"activation": "relu"}, {"weight": (6, 4, 3, 3)}):  # no part of the problem; given twice
        with pytest.raises(ArgumentError, match=r"^what: expected the arguments that state the problem of conv2d, "):
            fc.explain(fc.conv2d, (2, 4, 8, 9), (6, 4, 3, 3), **keywords)


def test_info_has_every_kernel() -> None:
    shown = fc.info()
    assert {kernel.name for kernel, _ in shown.kernels} == {
        kernel.name for entry in dispatch.OPERATORS for kernel in dispatch.kernels(*entry)
    }
    assert all(kernel.name in str(shown) for kernel, _ in shown.kernels)
    assert shown.cuda


def test_importing_is_light() -> None:
    """No compiler, no network library, no context: what a user of one function does not need is not imported."""
    code = (
        "import sys, fastconv; print([m for m in ('numba', 'llvmlite', 'fastconv.nn', 'torch', 'rich') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in fc.__all__:
        assert getattr(fc, name) is not None
    assert set(fc.__all__) <= set(dir(fc))
    with pytest.raises(AttributeError, match="has no attribute 'convolve'"):
        _ = fc.convolve


def test_workspaces_that_are_kept_are_bounded_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch.forget_choices()
    gc.collect()
    before = dispatch.kept_bytes()
    first, second = (dispatch.lender("conv", "forward", replace(PROBLEM, N=N)) for N in (3, 4))
    assert first.workspace_bytes
    assert dispatch.kept_bytes() - before == first.workspace_bytes + second.workspace_bytes
    assert fc.info().workspace_bytes == dispatch.kept_bytes()
    with first.lend():
        assert first.kept_bytes == 0
    monkeypatch.setattr(dispatch, "KEPT_BYTES", first.workspace_bytes + 1)
    third = dispatch.lender("conv", "forward", replace(PROBLEM, N=1))
    assert second.kept_bytes == 0, "it was used before the first"
    assert third.kept_bytes == third.workspace_bytes, "it is about to be used"
    with second.lend() as plan:
        assert plan.problem.N == 4, "it is made anew"

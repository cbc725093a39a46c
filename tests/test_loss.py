"""Softmax, its logarithm and cross-entropy: every kernel of the tables against float64, finite differences, bad labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv_kernels import loss
from fastconv_kernels.loss import rows_cpu
from fastconv_kernels.problems import Rows
from guarded import guarded, normal, same
from targets import here

PAIRS = {
    "softmax": (loss.SOFTMAX_FORWARD, loss.SOFTMAX_BACKWARD_INPUT),
    "log_softmax": (loss.LOG_SOFTMAX_FORWARD, loss.LOG_SOFTMAX_BACKWARD_INPUT),
}
SHAPES = [(1, 1), (3, 2), (5, 10), (2, 15), (4, 16), (3, 17), (2, 33), (0, 4)]
DTYPES = ["float32", "float64"]
LABELS = ["integers", "one-hot", "distribution"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def numbered(kernels: Any) -> Any:
    return pytest.mark.parametrize("kernel", here(kernels), ids=lambda kernel: kernel.name)


def skip_if_refused(kernel: Any, problem: Rows) -> None:
    if reasons := kernel.refuses(problem):
        pytest.skip("; ".join(reasons))


def tolerance(dtype: str) -> dict[str, float]:
    """Some roundings of numbers whose largest is about one hundred."""
    eps = float(np.finfo(dtype).eps)
    return {"rtol": 100 * eps, "atol": 100 * eps}


def labels_of(kind: str, rng: np.random.Generator, rows: int, classes: int, dtype: str) -> Any:
    numbers = rng.integers(0, classes, rows)
    if kind == "integers":
        return numbers
    if kind == "one-hot":
        return np.eye(classes, dtype=dtype)[numbers]
    return rng.dirichlet(np.ones(classes), rows).astype(dtype).reshape(rows, classes)


def exact_logs(x: Any) -> Any:
    x = x.astype("float64") - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@numbered([kernel for forward, _ in PAIRS.values() for kernel in forward])
def test_softmax(kernel: Any, shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, Rows(*shape, dtype))
    x = normal(rng, shape, dtype) * 30
    exact = exact_logs(x) if kernel.operator == "log_softmax" else np.exp(exact_logs(x))
    with guarded(shape, dtype) as out:
        np.testing.assert_allclose(kernel.plan(Rows(*shape, dtype), 1)(x, out), exact, **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@numbered([kernel for _, backward in PAIRS.values() for kernel in backward])
def test_softmax_backward(kernel: Any, shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, Rows(*shape, dtype))
    logs, grad = exact_logs(normal(rng, shape, "float64") * 3), normal(rng, shape, dtype)
    if kernel.operator == "log_softmax":
        y, exact = logs, grad - np.exp(logs) * grad.sum(axis=1, keepdims=True, dtype="d")
    else:
        y = np.exp(logs)
        exact = y * (grad - (grad * y).sum(axis=1, keepdims=True))
    with guarded(shape, dtype) as out:
        np.testing.assert_allclose(kernel.plan(Rows(*shape, dtype), 1)(grad, y.astype(dtype), out), exact, **tolerance(dtype))


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@numbered(loss.CROSS_ENTROPY_FORWARD)
def test_cross_entropy(kernel: Any, shape: tuple[int, int], dtype: str, kind: str, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, Rows(*shape, dtype))
    rows, classes = shape
    logits, labels = normal(rng, shape, dtype) * 20, labels_of(kind, rng, rows, classes, dtype)
    logs = exact_logs(logits)
    target = labels.astype("float64") if kind != "integers" else np.eye(classes)[labels]
    with guarded(rows, dtype) as losses, guarded(shape, dtype) as grad:
        kernel.plan(Rows(rows, classes, dtype), 1)(logits, labels, losses, grad)
        np.testing.assert_allclose(losses, -(target * logs).sum(axis=1), **tolerance(dtype))
        exact = (np.exp(logs) * target.sum(axis=1, keepdims=True) - target) / max(1, rows)
        np.testing.assert_allclose(grad, exact, **tolerance(dtype))


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("target", ["cpu", "numpy"])
def test_the_gradient_of_cross_entropy_by_finite_differences(kind: str, target: str, rng: np.random.Generator) -> None:
    logits, labels, step = normal(rng, (4, 5), "float64"), labels_of(kind, rng, 4, 5, "float64"), 1e-6
    with fc.use(target=target):
        value, grad = fc.cross_entropy(logits, labels)
        for at in np.ndindex(logits.shape):
            nudge = np.zeros_like(logits)
            nudge[at] = step
            slope = (fc.cross_entropy(logits + nudge, labels)[0] - fc.cross_entropy(logits - nudge, labels)[0]) / (2 * step)
            assert grad[at] == pytest.approx(slope, abs=1e-8)
    assert value > 0


@pytest.mark.parametrize("operator", PAIRS)
def test_softmax_by_finite_differences(operator: str, rng: np.random.Generator) -> None:
    x, grad, step = normal(rng, (2, 5), "float64"), normal(rng, (2, 5), "float64"), 1e-6
    forward, backward = getattr(fc, operator), getattr(fc, operator + "_backward")
    slopes = np.empty_like(x)
    for at in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[at] = step
        slopes[at] = ((forward(x + nudge) - forward(x - nudge)) * grad).sum() / (2 * step)
    np.testing.assert_allclose(backward(grad, forward(x)), slopes, atol=1e-8)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@numbered(loss.CROSS_ENTROPY_FORWARD)
def test_huge_logits_and_nan(kernel: Any) -> None:
    logits = np.array([[1e30, -1e30, 0], [-1e38, -1e38, -1e38], [1, np.nan, 0], [0, np.inf, 0], [0, -np.inf, 0]], "float32")
    losses, grad = np.empty(5, "float32"), np.empty_like(logits)
    kernel.plan(Rows(5, 3), 1)(logits, np.array([0, 1, 2, 1, 0]), losses, grad)
    np.testing.assert_allclose(losses, [0, np.log(3), np.nan, np.nan, np.log(2)], rtol=1e-6)
    assert np.isfinite(grad[[0, 1, 4]]).all()
    assert np.isnan(grad[[2, 3]]).all()
    kernel.plan(Rows(5, 3), 1)(logits, np.eye(3, dtype="float32")[[0, 1, 2, 1, 0]], losses, grad)
    np.testing.assert_allclose(losses, [0, np.log(3), np.nan, np.nan, np.log(2)], rtol=1e-6)


def test_the_same_bits_for_any_number_of_threads(rng: np.random.Generator) -> None:
    problem = Rows(2 * rows_cpu.GRAIN // 10 + 1, 10)
    shape = problem.rows, problem.columns
    x, grad = normal(rng, shape, "float32"), normal(rng, shape, "float32")
    assert loss.SOFTMAX_FORWARD[0].plan(problem, 2).threads == 2
    for forward, backward in PAIRS.values():
        one, two = (forward[0].plan(problem, threads)(x, np.empty_like(x)) for threads in (1, 2))
        same(two, one, forward[0].name)
        first, second = (backward[0].plan(problem, threads)(grad, one, np.empty_like(x)) for threads in (1, 2))
        same(second, first, backward[0].name)
    for kind in ("integers", "distribution"):
        labels, results = labels_of(kind, rng, *shape, "float32"), []
        for threads in (1, 2):
            losses, gradient = np.empty(problem.rows, "float32"), np.empty_like(x)
            loss.CROSS_ENTROPY_FORWARD[0].plan(problem, threads)(x, labels, losses, gradient)
            results.append((losses, gradient))
        same(results[1][0], results[0][0], kind)
        same(results[1][1], results[0][1], kind)


# ------------------------------------------------------------------------------------------------------------ public calls


def test_softmax_along_any_axis(rng: np.random.Generator) -> None:
    x = normal(rng, (2, 3, 4), "float64")
    for axis in range(-3, 3):
        e = np.exp(x)
        expected = e / e.sum(axis=axis, keepdims=True)
        np.testing.assert_allclose(fc.softmax(x, axis), expected, rtol=1e-13)
        np.testing.assert_allclose(fc.log_softmax(x, axis), np.log(expected), rtol=1e-13)
        out = np.empty_like(x)
        assert fc.softmax(x, axis, out=out) is out
        np.testing.assert_allclose(out, expected, rtol=1e-13)
    for function in (fc.softmax, fc.log_softmax):
        for axis in (1, -1):
            in_place = x.copy()
            assert function(in_place, axis, out=in_place) is in_place
            np.testing.assert_array_equal(in_place, function(x, axis))


def test_public_cross_entropy(rng: np.random.Generator) -> None:
    logits = normal(rng, (6, 4), "float32")
    labels = np.array([0, 3, 1, 1, 2, 0], np.uint8)
    value, grad = fc.cross_entropy(logits, labels)
    assert isinstance(value, float)
    assert value == pytest.approx(-exact_logs(logits)[np.arange(6), labels].mean(), rel=1e-6)
    for one_hot in (np.eye(4)[labels], np.eye(4, dtype=bool)[labels], np.eye(4, dtype=int)[labels].tolist()):
        again, other = fc.cross_entropy(logits, one_hot)
        assert again == pytest.approx(value, rel=1e-6)
        np.testing.assert_allclose(other, grad, atol=1e-7)
    nothing, empty = fc.cross_entropy(logits[:0], labels[:0])
    assert np.isnan(nothing)
    assert empty.shape == (0, 4)


LOGITS = np.zeros((3, 4), "float32")


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (fc.ArgumentError, "target: expected classes from 0 to 3, got 4 at 1", lambda: fc.cross_entropy(LOGITS, [0, 4, 1])),
        (fc.ArgumentError, "target: expected classes from 0 to 3, got -1 at 2", lambda: fc.cross_entropy(LOGITS, [0, 1, -1])),
        (fc.ArgumentError, "target: ", lambda: fc.cross_entropy(LOGITS, [0, 1])),
        (fc.ArgumentError, "target: ", lambda: fc.cross_entropy(LOGITS, [[0], [1, 2]])),
        (fc.ArgumentError, "target: ", lambda: fc.cross_entropy(LOGITS, np.full((3, 4), np.nan))),
        (fc.ArgumentError, "target: ", lambda: fc.cross_entropy(LOGITS, np.full((3, 4), -1))),
        (fc.DtypeError, "target: ", lambda: fc.cross_entropy(LOGITS, [0.0, 1.0, 2.0])),
        (fc.DtypeError, "target: ", lambda: fc.cross_entropy(LOGITS, ["a", "b", "c"])),
        (fc.ArgumentError, "logits: ", lambda: fc.cross_entropy(LOGITS[0], [0])),
        (fc.ArgumentError, "logits: ", lambda: fc.cross_entropy(LOGITS[:, :0], [0, 0, 0])),
        (fc.DtypeError, "logits: ", lambda: fc.cross_entropy(LOGITS.astype(int), [0, 0, 0])),
        (fc.ArgumentError, "axis: ", lambda: fc.softmax(LOGITS, 2)),
        (fc.ArgumentError, "x: ", lambda: fc.softmax(LOGITS[:, :0])),
        (fc.ArgumentError, "grad_output: ", lambda: fc.softmax_backward(LOGITS[:1], LOGITS)),
        (fc.ArgumentError, "out: ", lambda: fc.softmax(LOGITS, out=LOGITS[1:])),
    ],
)
def test_bad_input(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match="^" + message):
        call()


def test_a_bad_label_leaves_out_untouched() -> None:
    out = np.full((3, 4), 7, "float32")
    with pytest.raises(fc.ArgumentError, match=r"^target: "):
        fc.cross_entropy(LOGITS, [0, 9, 0], out=out)
    assert (out == 7).all()

"""Every kernel of batch normalisation against the reference, the reference against definitions, and the public calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv_kernels.norm import BACKWARD, FORWARD, INFERENCE
from fastconv_kernels.problems import BatchNorm
from guarded import guarded, integers, normal, same, within
from targets import SIMULATED, here

DTYPES = ["float32", "float64"]
LAYOUTS = ["NHWC", "NCHW"]
SIZES = [(2, 1, 1), (3, 3, 5), (2, 16, 7), (2, 17, 49), (5, 33, 6), (1, 300, 9), (4, 5, 700), (7, 65, 1)]
"""(images, channels, pixels): fewer columns than a vector and more, a part row, one pixel, several blocks."""
if SIMULATED:  # one element, a part row, four at a time in both layouts
    SIZES = [(2, 1, 1), (3, 3, 5), (2, 4, 4)]
LARGE = BatchNorm(5, 33, 400)
"""Work for two threads."""


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def kernels(ranked: Any) -> Any:
    return pytest.mark.parametrize(
        "kernel", [each for each in here(ranked) if each.target != "numpy"], ids=lambda each: each.name
    )


def problems() -> Any:
    return [BatchNorm(*sizes, dtype, layout) for sizes in SIZES for dtype in DTYPES for layout in LAYOUTS]


def run(kernel: Any, problem: BatchNorm, inputs: Any, shapes: Any, threads: int = 1, **options: Any) -> Any:
    """What a kernel writes: ``inputs`` are given first, then a guarded array for each of ``shapes``."""
    if not shapes:
        kernel.plan(problem, threads)(*inputs, **options)
        return ()
    with guarded(shapes[0], problem.dtype, complete=False) as first:
        rest = run(kernel, problem, (*inputs, first), shapes[1:], threads, **options)
    return first.copy(), *rest


def skip_if_refused(kernel: Any, problem: BatchNorm) -> None:
    if reasons := kernel.refuses(problem):
        pytest.skip("; ".join(reasons))


def setting(problem: BatchNorm, rng: np.random.Generator) -> Any:
    """(x, gradient, residual, weight, bias): means and deviations that differ by channel."""
    shape, C = problem.x_shape, problem.channels
    axis = (1, C) if problem.layout == "NHWC" else (C, 1)
    x = normal(rng, shape, "float64") * rng.uniform(0.5, 2, axis) + rng.uniform(-3, 3, axis)
    arrays = x, normal(rng, shape, "float64"), normal(rng, shape, "float64"), rng.uniform(0.5, 1.5, C), rng.standard_normal(C)
    return [array.astype(problem.dtype) for array in arrays]


def tolerance(problem: BatchNorm) -> float:
    """Sums of ``count`` terms of size 1, by parts and blocks, and a few roundings."""
    return (20 + problem.count**0.5) * float(np.finfo(problem.dtype).eps) * 8


@pytest.mark.parametrize("problem", problems(), ids=str)
@kernels(FORWARD)
def test_forward(kernel: Any, problem: BatchNorm, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, problem)
    x, _, residual, weight, bias = setting(problem, rng)
    C, bound = problem.channels, tolerance(problem)
    for extra in ({}, {"residual": residual, "relu": True}, {"relu": True}):
        runs = []
        for each in (kernel, FORWARD[-1]):
            mean, variance = np.full(C, 2, problem.dtype), np.full(C, 3, problem.dtype)
            statistics = {"running_mean": mean, "running_var": variance, "momentum": 0.25}
            got = run(each, problem, (x, weight, bias), (problem.x_shape, C, C), **extra, **statistics)
            runs.append((*got, mean, variance))
        for got, expected in zip(*runs, strict=True):
            within(got, expected, bound * (1 + np.abs(expected)) * 4, f"{kernel.name} of {problem} with {list(extra)}")


@pytest.mark.parametrize("problem", problems(), ids=str)
@kernels(INFERENCE)
def test_inference(kernel: Any, problem: BatchNorm, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, problem)
    x, _, residual, weight, bias = setting(problem, rng)
    mean, variance = bias[::-1].copy(), (weight + 0.5).astype(problem.dtype)
    for extra in ({}, {"residual": residual, "relu": True}):
        (got,) = run(kernel, problem, (x, weight, bias, mean, variance), (problem.x_shape,), **extra)
        (expected,) = run(INFERENCE[-1], problem, (x, weight, bias, mean, variance), (problem.x_shape,), **extra)
        within(got, expected, 16 * np.finfo(problem.dtype).eps * (1 + np.abs(x)) * 4, f"{kernel.name} of {problem}")


@pytest.mark.parametrize("problem", problems(), ids=str)
@kernels(BACKWARD)
def test_backward(kernel: Any, problem: BatchNorm, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, problem)
    x, given, residual, weight, bias = setting(problem, rng)
    C, shape = problem.channels, problem.x_shape
    y, mean, inverse = run(FORWARD[-1], problem, (x, weight, bias), (shape, C, C), residual=residual, relu=True, epsilon=0.01)
    for extra in ({}, {"y": y}, {"y": y, "grad_residual": np.empty_like(x)}):
        copies = {key: value.copy() for key, value in extra.items()}
        inputs = given, x, weight, mean, inverse
        got = run(kernel, problem, inputs, (shape, C, C), **extra)
        expected = run(BACKWARD[-1], problem, inputs, (shape, C, C), **copies)
        bound = tolerance(problem)
        for one, other, scale in zip(got, expected, (32, problem.count, problem.count), strict=True):
            within(one, other, bound * scale, f"{kernel.name} of {problem} with {list(extra)}")
        if "grad_residual" in extra:
            same(extra["grad_residual"], copies["grad_residual"], kernel.name)


@pytest.mark.parametrize("layout", LAYOUTS)
@kernels(BACKWARD)
def test_backward_is_the_derivative(kernel: Any, layout: str, rng: np.random.Generator) -> None:
    """Central differences of the loss <grad, batch_norm(x, weight, bias) + residual> in float64, relu included."""
    problem = BatchNorm(3, 5, 4, "float64", layout)
    skip_if_refused(kernel, problem)
    x, given, residual, weight, bias = setting(problem, rng)
    forward, C, shape = FORWARD[0].plan(problem, 1), problem.channels, problem.x_shape

    def output() -> tuple[Any, Any, Any]:
        y, mean, inverse = np.empty(shape), np.empty(C), np.empty(C)
        forward(x, weight, bias, y, mean, inverse, residual=residual, relu=True)
        return y, mean, inverse

    y, mean, inverse = output()
    passed = np.empty(shape)
    got = run(kernel, problem, (given, x, weight, mean, inverse), (shape, C, C), y=y, grad_residual=passed)
    step = 1e-6
    for array, gradient in zip((x, weight, bias, residual), (*got, passed), strict=True):
        slopes = np.empty(array.size)
        for i in range(array.size):
            kept = array.flat[i]
            array.flat[i] = kept + step
            above = (given * output()[0]).sum()
            array.flat[i] = kept - step
            slopes[i] = (above - (given * output()[0]).sum()) / (2 * step)
            array.flat[i] = kept
        np.testing.assert_allclose(gradient.ravel(), slopes, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("layout", LAYOUTS)
@kernels(FORWARD)
def test_a_mean_much_larger_than_the_deviation(kernel: Any, layout: str, rng: np.random.Generator) -> None:
    """E[x²] - E[x]² would be rounding errors alone."""
    problem = BatchNorm(4, 3, 50 if SIMULATED else 5000, "float32", layout)
    x = (4096 + integers(rng, problem.x_shape, "float64") / 64).astype("float32")
    out, mean, inverse = run(kernel, problem, (x, None, None), (problem.x_shape, 3, 3), epsilon=0.0)
    axes = (0, 1) if layout == "NHWC" else (0, 2)
    wide = x.astype("float64")
    np.testing.assert_allclose(mean, wide.mean(axis=axes), rtol=1e-6)
    np.testing.assert_allclose(inverse, 1 / wide.std(axis=axes), rtol=1e-3)
    np.testing.assert_allclose(out.std(axis=axes), 1, rtol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
@kernels(FORWARD)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_nan_stays_in_its_channel(kernel: Any, layout: str, rng: np.random.Generator) -> None:
    C, first, last = (3, 0, 2) if SIMULATED else (19, 4, 18)
    problem = BatchNorm(3, C, 7, "float32", layout)
    x = normal(rng, problem.x_shape, "float32")
    channels = x if layout == "NHWC" else x.transpose(0, 2, 1)
    channels[1, 3, first], channels[2, 6, last] = np.nan, np.inf
    out, _, inverse = run(kernel, problem, (x, None, None), (problem.x_shape, C, C), relu=True)
    assert np.flatnonzero(np.isnan(inverse)).tolist() == [first, last]
    by_channel = out if layout == "NHWC" else out.transpose(0, 2, 1)
    assert np.isnan(by_channel[..., [first, last]]).all()
    assert np.isfinite(np.delete(by_channel, [first, last], axis=-1)).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_bits_for_any_number_of_threads(layout: str, rng: np.random.Generator) -> None:
    problem = LARGE.with_layout(layout)
    x, given, residual, weight, bias = setting(problem, rng)
    shapes = problem.x_shape, problem.channels, problem.channels
    assert FORWARD[0].plan(problem, 2).threads == 2
    one, two = (
        run(FORWARD[0], problem, (x, weight, bias), shapes, threads, residual=residual, relu=True) for threads in (1, 2)
    )
    for left, right in zip(one, two, strict=True):
        same(left, right, str(problem))
    inputs = given, x, weight, one[1], one[2]
    back = [run(BACKWARD[0], problem, inputs, shapes, threads, y=one[0]) for threads in (1, 2)]
    for left, right in zip(*back, strict=True):
        same(left, right, str(problem))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kernel", here([*FORWARD, *BACKWARD]), ids=lambda kernel: kernel.name)
def test_no_images(kernel: Any, layout: str) -> None:
    problem = BatchNorm(0, 3, 4, "float32", layout)
    x, values = np.empty(problem.x_shape, "float32"), [np.ones(3, "float32") for _ in range(4)]
    if kernel.direction == "forward":
        kernel.plan(problem, 2)(x, None, None, x.copy(), *values[:2])
    else:
        kernel.plan(problem, 2)(x, x, None, *values[:2], x.copy(), *values[2:])
        assert not values[2].any()
        assert not values[3].any()


# ------------------------------------------------------------------------------------------------------------ public calls


def test_batch_norm_as_torch_has_it(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="compares with torch where it is installed")
    x, weight, bias = normal(rng, (4, 3, 5, 6), "float32"), normal(rng, 3, "float32"), normal(rng, 3, "float32")
    mean, variance = np.zeros(3, "float32"), np.ones(3, "float32")
    ours_mean, ours_variance = mean.copy(), variance.copy()
    theirs = [torch.from_numpy(array) for array in (x, mean, variance, weight, bias)]
    expected = torch.nn.functional.batch_norm(*theirs, True, 0.3, 1e-3).numpy()
    got = fc.batch_norm(x, ours_mean, ours_variance, weight, bias, True, 0.3, 1e-3)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours_mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours_variance, variance, rtol=1e-5)
    expected = torch.nn.functional.batch_norm(*theirs).numpy()
    np.testing.assert_allclose(fc.batch_norm(x, ours_mean, ours_variance, weight, bias), expected, rtol=1e-5, atol=1e-5)
    point = torch.from_numpy(x).requires_grad_()
    given = normal(rng, x.shape, "float32")
    torch.nn.functional.batch_norm(point, None, None, theirs[3], theirs[4], True).backward(torch.from_numpy(given))
    _, saved = fc.batch_norm(x, weight=weight, bias=bias, training=True, return_statistics=True)
    got_input, _, got_bias = fc.batch_norm_backward(given, x, *saved, weight)
    np.testing.assert_allclose(got_input, point.grad.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got_bias, given.sum(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_ranks_layouts_and_out(rng: np.random.Generator) -> None:
    x = normal(rng, (4, 3, 5, 6), "float64")
    expected = fc.batch_norm(x, training=True)
    np.testing.assert_allclose(fc.batch_norm(x.reshape(4, 3, 30), training=True).reshape(x.shape), expected)
    last = fc.batch_norm(x.transpose(0, 2, 3, 1), training=True, layout="NHWC")
    np.testing.assert_allclose(last.transpose(0, 3, 1, 2), expected, atol=1e-12)
    flat = x.transpose(0, 2, 3, 1).reshape(-1, 3)
    np.testing.assert_allclose(fc.batch_norm(flat, training=True), last.reshape(-1, 3), atol=1e-12)
    kept = x.copy()
    assert fc.batch_norm(kept, training=True, activation="relu", out=kept) is kept
    np.testing.assert_array_equal(kept, np.maximum(expected, 0))
    np.testing.assert_allclose(fc.batch_norm(x, training=True, target="numpy"), expected, atol=1e-12)


X, C3 = np.ones((2, 3, 4), "float32"), np.ones(3, "float32")


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (fc.ArgumentError, "x: ", lambda: fc.batch_norm(C3, training=True)),
        (fc.ArgumentError, "x: ", lambda: fc.batch_norm(X[:1, :, :1], training=True)),
        (fc.ArgumentError, "x: ", lambda: fc.batch_norm(X[:, :0], training=True)),
        (fc.ArgumentError, "running_mean: ", lambda: fc.batch_norm(X)),
        (fc.ArgumentError, "running_var: ", lambda: fc.batch_norm(X, C3, training=True)),
        (fc.ArgumentError, "running_var: ", lambda: fc.batch_norm(X, C3, np.ones(4, "float32"))),
        (fc.DtypeError, "weight: ", lambda: fc.batch_norm(X, C3, C3, np.ones(3))),
        (fc.ArgumentError, "bias: ", lambda: fc.batch_norm(X, C3, C3, C3, np.ones((3, 1), "float32"))),
        (fc.ArgumentError, "momentum: ", lambda: fc.batch_norm(X, C3, C3, momentum=float("nan"))),
        (fc.ArgumentError, "eps: ", lambda: fc.batch_norm(X, C3, C3, eps=-1.0)),
        (fc.ArgumentError, "activation: ", lambda: fc.batch_norm(X, C3, C3, activation="tanh")),
        (fc.ArgumentError, "residual: ", lambda: fc.batch_norm(X, C3, C3, residual=X[:1])),
        (fc.ArgumentError, "out: ", lambda: fc.batch_norm(X, C3, C3, out=X[:, ::-1])),
        (fc.ArgumentError, "mean: ", lambda: fc.batch_norm_backward(X, X, np.ones(2, "float32"), C3)),
        (fc.ArgumentError, "grad_output: ", lambda: fc.batch_norm_backward(X[:1], X, C3, C3)),
    ],
)
def test_bad_input(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match="^" + message):
        call()

"""Every activation kernel of the tables against the reference, the reference against definitions, and the public calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv_kernels.elementwise import BACKWARD_INPUT, FORWARD, MAXOUT_BACKWARD_INPUT, MAXOUT_FORWARD, loop_cpu, maxout_cpu
from fastconv_kernels.problems import ELEMENTWISE, Elementwise, Maxout
from guarded import guarded, integers, normal, same
from targets import SIMULATED, here

DTYPES = ["float32", "float64"]
SIZES = [0, 1, 5, 64] if SIMULATED else [0, 1, 15, 16, 17, 33, 1000]
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -1e-30, 1e-3, 88.0, -88.0, -95.0, 100.0, -104.0, 1e30, -1e30]
PARAMETER = 0.3
ULPS = {"float32": 5, "float64": 5}
"""Each function is a few roundings of an exponential that is right to two units in the last place."""

PRODUCTS = "gelu", "silu"
"""x times a probability: that is right to sixteen units, and has lost its lower bits where it is almost 0."""


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def kernels(ranked: Any) -> Any:
    return pytest.mark.parametrize(
        "kernel", [kernel for kernel in here(ranked) if kernel.target != "numpy"], ids=lambda kernel: kernel.name
    )


def skip_if_refused(kernel: Any, problem: Elementwise | Maxout) -> None:
    if reasons := kernel.refuses(problem):
        pytest.skip("; ".join(reasons))


def arguments(rng: np.random.Generator, size: int, dtype: str) -> Any:
    """Numbers of all sizes; the special ones at the end, where vectors have their tails."""
    x = (rng.standard_normal(size) * np.exp(rng.uniform(-8, 5, size))).astype(dtype)
    special = np.array(SPECIAL, dtype)[: size // 2]
    x[size - len(special) :] = special
    return x


def close(got: Any, exact: Any, ulps: int, dtype: str, least: int = 1) -> None:
    """Within ``ulps`` units in the last place of the float64 value, or of ``least`` times the smallest normal number."""
    limits = np.finfo(dtype)
    with np.errstate(over="ignore"):  # what is infinite in float32 must be infinite
        rounded = exact.astype(dtype)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(got[~finite], rounded[~finite])
    unit = np.maximum(np.abs(exact[finite]), least * limits.tiny) * float(limits.eps)
    wrong = np.abs(got[finite].astype("float64") - exact[finite]) > ulps * unit
    assert not wrong.any(), f"got {got[finite][wrong][:3]}, expected {exact[finite][wrong][:3]}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ELEMENTWISE)
@kernels(FORWARD)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_forward(kernel: Any, function: str, dtype: str, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, Elementwise(function, 1, dtype))
    for size in SIZES:
        x = arguments(rng, size, dtype)
        exact = np.empty(size)
        FORWARD[-1].plan(Elementwise(function, size, "float64", float(np.dtype(dtype).type(PARAMETER))), 1)(
            x.astype("d"), exact
        )
        with guarded(size, dtype, complete=False) as out:
            kernel.plan(Elementwise(function, size, dtype, PARAMETER), 1)(x, out)
            if function in PRODUCTS:
                close(out, exact, 16, dtype, least=16)
            else:
                close(out, exact, ULPS[dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ELEMENTWISE)
@kernels(BACKWARD_INPUT)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_backward(kernel: Any, function: str, dtype: str, rng: np.random.Generator) -> None:
    skip_if_refused(kernel, Elementwise(function, 1, dtype))
    for size in SIZES:
        x, grad = arguments(rng, size, dtype), normal(rng, size, dtype)
        problem = Elementwise(function, size, dtype, PARAMETER)
        y, exact, wide = np.empty_like(x), np.empty(size), Elementwise(function, size, "float64", problem.parameter)
        FORWARD[-1].plan(problem, 1)(x, y)
        BACKWARD_INPUT[-1].plan(wide, 1)(grad.astype("d"), x.astype("d"), y.astype("d"), exact)
        with guarded(size, dtype, complete=False) as out:
            kernel.plan(problem, 1)(grad, x, y, out)
            if function in ("sigmoid", "tanh", *PRODUCTS):  # the error is that of a difference of larger numbers
                finite = np.isfinite(exact)
                np.testing.assert_allclose(out[finite], exact[finite], rtol=1e-5, atol=4 * float(np.finfo(dtype).eps))
                np.testing.assert_array_equal(np.isnan(out), np.isnan(exact))
            else:
                close(out, exact, ULPS[dtype], dtype)


@pytest.mark.parametrize("function", ELEMENTWISE)
@pytest.mark.parametrize("target", ["numpy", "cpu"])
def test_derivatives_by_finite_differences(function: str, target: str, rng: np.random.Generator) -> None:
    x = rng.uniform(0.1, 3, 50) * rng.choice([-1, 1], 50)  # away from the kinks
    step, y, grad = 1e-6, np.empty(50), np.empty(50)
    problem = Elementwise(function, 50, "float64", PARAMETER)
    forward = next(kernel for kernel in FORWARD if kernel.target == target).plan(problem, 1)
    backward = next(kernel for kernel in BACKWARD_INPUT if kernel.target == target).plan(problem, 1)
    above, below = forward(x + step, np.empty(50)), forward(x - step, np.empty(50))
    backward(np.ones(50), x, forward(x, y), grad)
    np.testing.assert_allclose(grad, (above - below) / (2 * step), atol=1e-8)


@pytest.mark.parametrize("function", ["relu", "sigmoid"])
def test_the_same_bits_for_any_number_of_threads_and_in_place(function: str, rng: np.random.Generator) -> None:
    size = 2 * loop_cpu.GRAIN + 17
    x, grad = normal(rng, size, "float32"), normal(rng, size, "float32")
    problem = Elementwise(function, size)
    one, two = (FORWARD[0].plan(problem, threads)(x, np.empty_like(x)) for threads in (1, 2))
    assert FORWARD[0].plan(problem, 2).threads == 2
    same(two, one, repr(problem))
    in_place = x.copy()
    FORWARD[0].plan(problem, 2)(in_place, in_place)
    same(in_place, one, repr(problem))
    back = [BACKWARD_INPUT[0].plan(problem, threads)(grad, x, one, np.empty_like(x)) for threads in (1, 2)]
    same(back[1], back[0], repr(problem))
    in_place = grad.copy()
    BACKWARD_INPUT[0].plan(problem, 1)(in_place, x, one, in_place)
    same(in_place, back[0], repr(problem))


def test_vectors_compute_in_float32(rng: np.random.Generator) -> None:
    """No activation of float32 may pass through doubles: half the lanes and twice the time."""
    x = normal(rng, 64, "float32")
    for function in ELEMENTWISE:
        for plan, arrays in ((loop_cpu.Forward, 2), (loop_cpu.BackwardInput, 4)):
            made = plan(Elementwise(function, 64), 1)
            loop = made.loop.serial
            fresh = type(loop)(loop.py_func, targetoptions=loop.targetoptions)  # one from the cache cannot be inspected
            fresh(*(x.copy() for _ in range(arrays)), *made.rest)
            assert "cvtps2pd" not in fresh.inspect_asm(fresh.signatures[0]), (
                f"{plan.__name__} of {function} computes in double"
            )


MAXOUTS = [
    Maxout(2, 3, 5, 4),
    Maxout(7, 4, 1, 2),
    Maxout(1, 33, 1, 3),
    Maxout(3, 5, 1, 9),
    Maxout(2, 1, 17, 5),
    Maxout(3, 2, 2, 1),
    Maxout(0, 2, 3, 2),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", MAXOUTS, ids=str)
@kernels(MAXOUT_FORWARD)
def test_maxout(kernel: Any, problem: Maxout, dtype: str, rng: np.random.Generator) -> None:
    problem = Maxout(problem.outer, problem.channels, problem.inner, problem.pieces, dtype)
    skip_if_refused(kernel, problem)
    backward = next(other for other in MAXOUT_BACKWARD_INPUT if other.target == kernel.target)
    x, grad = rng.integers(-2, 3, problem.x_shape).astype(dtype), integers(rng, problem.out_shape, dtype)
    if x.size:
        x.flat[x.size // 2], x.flat[-1] = np.nan, -np.inf
    expected, expected_grad = np.empty(problem.out_shape, dtype), np.empty(problem.x_shape, dtype)
    for at in np.ndindex(problem.out_shape):
        pieces = x[at[0], at[1] * problem.pieces : (at[1] + 1) * problem.pieces, at[2]]
        winner = int(np.argmax(pieces))  # the first of equals, the first NaN
        expected[at] = pieces[winner]
        chosen = np.arange(problem.pieces) == winner
        expected_grad[at[0], at[1] * problem.pieces : (at[1] + 1) * problem.pieces, at[2]] = np.where(chosen, grad[at], 0)
    for forward, back in ((kernel, backward), (MAXOUT_FORWARD[-1], MAXOUT_BACKWARD_INPUT[-1])):
        with guarded(problem.out_shape, dtype, complete=False) as out:
            np.testing.assert_array_equal(forward.plan(problem, 1)(x, out), expected)
        with guarded(problem.x_shape, dtype) as out:
            same(back.plan(problem, 1)(grad, x, out), expected_grad, repr(problem))


def test_maxout_has_the_same_bits_for_any_number_of_threads(rng: np.random.Generator) -> None:
    problem = Maxout(2 * maxout_cpu.GRAIN // 6 + 1, 3, 1, 2)
    x, grad = normal(rng, problem.x_shape, "float32"), normal(rng, problem.out_shape, "float32")
    assert MAXOUT_FORWARD[0].plan(problem, 2).threads == 2
    one, two = (MAXOUT_FORWARD[0].plan(problem, threads)(x, np.empty(problem.out_shape, "f")) for threads in (1, 2))
    same(two, one, repr(problem))
    one, two = (MAXOUT_BACKWARD_INPUT[0].plan(problem, threads)(grad, x, np.empty_like(x)) for threads in (1, 2))
    same(two, one, repr(problem))


# ------------------------------------------------------------------------------------------------------------ public calls


def test_public_activations(rng: np.random.Generator) -> None:
    x = normal(rng, (3, 4, 5), "float32")
    grad = normal(rng, x.shape, "float32")
    np.testing.assert_array_equal(fc.relu(x), np.maximum(x, 0))
    np.testing.assert_array_equal(fc.relu(x.T), np.maximum(x, 0).T)
    np.testing.assert_array_equal(fc.relu_backward(grad, x), np.where(x > 0, grad, 0))
    np.testing.assert_array_equal(fc.leaky_relu(x, 0.5), np.where(x > 0, x, x / 2))
    np.testing.assert_array_equal(fc.leaky_relu_backward(grad, x, 0.5), np.where(x > 0, grad, grad / 2))
    np.testing.assert_allclose(fc.elu(x, 2.0), np.where(x > 0, x, 2 * np.expm1(x)), rtol=1e-6)
    np.testing.assert_allclose(fc.elu_backward(grad, x, 2.0), np.where(x > 0, grad, 2 * grad * np.exp(x)), rtol=1e-6)
    y = fc.sigmoid(x)
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-x)), rtol=1e-6)
    np.testing.assert_allclose(fc.sigmoid_backward(grad, y), grad * y * (1 - y), rtol=1e-6)
    np.testing.assert_allclose(fc.tanh(x), np.tanh(x), rtol=1e-6)
    np.testing.assert_allclose(fc.tanh_backward(grad, fc.tanh(x)), grad / np.cosh(x) ** 2, rtol=1e-4)
    np.testing.assert_array_equal(fc.maxout(x, 2), x.reshape(3, 2, 2, 5).max(axis=2))
    np.testing.assert_array_equal(fc.maxout(x[..., :4], 4, axis=-1), x[..., :4].max(axis=2, keepdims=True))
    assert fc.maxout_backward(grad[:, :2], x, 2).sum() == pytest.approx(grad[:, :2].sum(), rel=1e-5)
    in_place = x.copy()
    assert fc.tanh(in_place, out=in_place) is in_place
    np.testing.assert_array_equal(in_place, fc.tanh(x))
    np.testing.assert_allclose(fc.elu(x, target="numpy"), fc.elu(x), rtol=1e-6)


X = np.zeros((2, 6), "float32")


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (fc.DtypeError, "x: ", lambda: fc.relu(np.zeros(3, int))),
        (fc.DtypeError, "x: ", lambda: fc.relu([1.0, 2.0])),
        (fc.ArgumentError, "out: ", lambda: fc.relu(X, out=np.zeros((6, 2), "float32"))),
        (fc.ArgumentError, "out: ", lambda: fc.relu(X[:, 1:], out=X[:, :5])),
        (fc.ArgumentError, "grad_output: ", lambda: fc.relu_backward(X[:1], X)),
        (fc.DtypeError, "grad_output: ", lambda: fc.tanh_backward(X.astype("float64"), X)),
        (fc.ArgumentError, "alpha: ", lambda: fc.elu(X, float("nan"))),
        (fc.ArgumentError, "negative_slope: ", lambda: fc.leaky_relu(X, "steep")),  # type: ignore[arg-type]
        (fc.ArgumentError, "pieces: ", lambda: fc.maxout(X, 4)),
        (fc.ArgumentError, "pieces: ", lambda: fc.maxout(X, 0)),
        (fc.ArgumentError, "axis: ", lambda: fc.maxout(X, 2, axis=2)),
        (fc.ArgumentError, "algorithm: ", lambda: fc.relu(X, algorithm="magic")),
    ],
)
def test_bad_input(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match="^" + message):
        call()

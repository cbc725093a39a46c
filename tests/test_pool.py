"""Every pooling kernel of the tables against the NumPy reference, the reference against loops, and the public calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fastconv as fc
import naive_pool
from fastconv_kernels.pool import BACKWARD_INPUT, FORWARD, reference
from fastconv_kernels.problems import Pool
from guarded import guarded, integers, normal, same, within
from targets import SIMULATED, here

FORWARD_KERNELS = [kernel for kernel in here(FORWARD) if kernel.target != "numpy"]
BACKWARD_KERNELS = [kernel for kernel in here(BACKWARD_INPUT) if kernel.target != "numpy"]
PAD = ((1, 1), (1, 1))
SHAPES = {
    "2x2": Pool("max", 2, 17, 6, 8, 2, 2, (2, 2)),
    "2x2 odd": Pool("max", 2, 17, 7, 9, 2, 2, (2, 2)),
    "3x3 padded": Pool("max", 1, 17, 7, 6, 3, 3, (2, 2), PAD),
    "3x3 overlapping": Pool("max", 1, 17, 6, 5, 3, 3, (1, 1), PAD),
    "ceil": Pool("max", 2, 1, 6, 7, 3, 3, (2, 2), PAD, ceil=True),
    "ceil, one sided": Pool("max", 1, 17, 5, 5, 2, 2, (2, 2), ceil=True),
    "stride beyond the window": Pool("max", 1, 130, 9, 8, 2, 1, (3, 4)),
    "asymmetric": Pool("max", 2, 5, 6, 5, 3, 2, (1, 3), ((1, 0), (0, 1))),
    "dilated": Pool("max", 1, 5, 9, 8, 2, 3, (2, 1), dilation=(3, 2)),
    "dilated around one pixel": Pool("max", 1, 17, 1, 3, 2, 2, (1, 1), PAD, (2, 2)),
    "the whole image": Pool("max", 2, 5, 4, 3, 4, 3, (4, 3)),
    "adaptive": Pool("max", 2, 17, 7, 5, 3, 3, adaptive=(4, 3)),
    "more windows than pixels": Pool("max", 1, 5, 4, 3, 2, 1, adaptive=(7, 3)),
    "a larger image": Pool("max", 2, 5, 7, 7, 7, 7),
    "one pixel": Pool("max", 3, 1, 1, 1, 1, 1),
    "five columns": Pool("max", 1, 2, 2, 12, 1, 5, (1, 2)),
    "wide": Pool("max", 1, 17, 6, 75, 3, 3, (2, 2), PAD),
    "wide, stride 1": Pool("max", 1, 17, 5, 37, 3, 3, (1, 1), PAD),
    "wide, stride 3": Pool("max", 1, 17, 7, 60, 3, 3, (3, 3)),
    "many channels": Pool("max", 1, 130, 4, 5, 2, 2, (2, 2)),
    "eight channels": Pool("max", 2, 8, 5, 6, 3, 3, (2, 2), PAD),
}
if SIMULATED:  # one of each kind of window; eight channels go four at a time
    SIMPLE = "2x2 odd", "ceil", "asymmetric", "dilated", "dilated around one pixel", "adaptive", "eight channels"
    SHAPES = {name: replace(SHAPES[name], N=min(2, SHAPES[name].N), C=min(8, SHAPES[name].C)) for name in SIMPLE}
AVERAGES = {
    "counting": {},
    "not counting": {"count_padding": False},
    "divisor": {"divisor": -3},
}
LARGE = Pool("max", 5, 17, 32, 33, 3, 3, (2, 2), PAD)  # work for two threads, a row and a half of lanes


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def problems(mode: str) -> list[Any]:
    if mode == "max":
        return [pytest.param(problem, id=name) for name, problem in SHAPES.items()]
    return [
        pytest.param(replace(problem, mode="average", **changes), id=f"{name}, {how}")
        for name, problem in SHAPES.items()
        for how, changes in AVERAGES.items()
    ]


BOTH = problems("max") + problems("average")
VARIANTS = [("NHWC", "float32", "int32"), ("NCHW", "float32", "int64")]
DOUBLE = [("NHWC", "float64", "int64"), ("NCHW", "float64", "int32")]
IN_DOUBLE = "2x2", "3x3 padded", "asymmetric"
"""In float64 the same code has other tiles; a few shapes show it, as each costs a compilation."""


def runs(problems: list[Any]) -> Any:
    """Every problem in every variant."""
    return pytest.mark.parametrize(
        ("problem", "layout", "dtype", "index_type"),
        [
            pytest.param(*each.values, *variant, id=f"{each.id}-{'-'.join(variant)}")
            for each in problems
            for variant in [*VARIANTS, *(DOUBLE if each.id.split(",")[0] in IN_DOUBLE else [])]
        ],
    )


def nchw(images: Any, problem: Pool) -> Any:
    return images if problem.layout == "NCHW" else images.transpose(0, 3, 1, 2)


def skip_if_refused(kernel: Any, problem: Pool) -> None:
    if reasons := kernel.refuses(problem):
        pytest.skip("; ".join(reasons))


def forward(kernel: Any, problem: Pool, x: Any, index_type: str = "int32", threads: int = 1) -> tuple[Any, Any]:
    """What a kernel makes of ``x``, its output surrounded by guards."""
    indices = np.full(problem.out_shape, 77, index_type)
    with guarded(problem.out_shape, problem.dtype, complete=not np.isnan(x).any()) as out:
        assert kernel.plan(problem, threads)(x, out, indices if problem.mode == "max" else None) is out
    return out.copy(), indices


def backward(kernel: Any, problem: Pool, grad: Any, indices: Any, threads: int = 1) -> Any:
    with guarded(problem.x_shape, problem.dtype) as out:
        kernel.plan(problem, threads)(grad, *([indices] if problem.mode == "max" else []), out)
    return out.copy()


@pytest.mark.parametrize("problem", BOTH)
def test_the_reference_is_the_definition(problem: Pool, rng: np.random.Generator) -> None:
    problem = replace(problem, dtype="float64")
    x, repeat = integers(rng, problem.x_shape, "float64"), repr(problem)
    grad = integers(rng, problem.out_shape, "float64")
    if problem.mode == "max":
        for got, expected in zip(reference.maximum(x, problem), naive_pool.maximum(x, problem), strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=repeat)
        _, indices = naive_pool.maximum(x, problem)
        expected = naive_pool.maximum_backward(grad, indices, problem)
        same(reference.maximum_backward(grad, indices, problem), expected, repeat)
    else:
        within(reference.average(x, problem), naive_pool.average(x, problem), 1e-13, repeat)
        within(reference.average_backward(grad, problem), naive_pool.average_backward(grad, problem), 1e-13, repeat)


@runs(BOTH)
@pytest.mark.parametrize("kernel", FORWARD_KERNELS, ids=lambda kernel: kernel.name)
def test_forward(kernel: Any, problem: Pool, layout: str, dtype: str, index_type: str, rng: np.random.Generator) -> None:
    problem = replace(problem, layout=layout, dtype=dtype)
    skip_if_refused(kernel, problem)
    # A sum of few small integers is exact, its division rounds once, the same way everywhere: all bits agree.
    x = integers(rng, problem.x_shape, dtype)
    got, places = forward(kernel, problem, x, index_type)
    expected, expected_places = forward(FORWARD[-1], problem, x, index_type)
    np.testing.assert_array_equal(got, expected, err_msg=repr(problem))
    np.testing.assert_array_equal(places, expected_places, err_msg=repr(problem))


@runs(BOTH)
@pytest.mark.parametrize("kernel", BACKWARD_KERNELS, ids=lambda kernel: kernel.name)
def test_backward(kernel: Any, problem: Pool, layout: str, dtype: str, index_type: str, rng: np.random.Generator) -> None:
    problem = replace(problem, layout=layout, dtype=dtype)
    skip_if_refused(kernel, problem)
    _, places = forward(FORWARD[-1], problem, integers(rng, problem.x_shape, dtype), index_type)
    grad = integers(rng, problem.out_shape, dtype)
    # Sums in the same order of the same quotients: all bits agree.
    same(backward(kernel, problem, grad, places), backward(BACKWARD_INPUT[-1], problem, grad, places), repr(problem))


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("kernel", BACKWARD_KERNELS, ids=lambda kernel: kernel.name)
def test_a_pixel_adds_its_windows_in_their_order(kernel: Any, layout: str, mode: str, rng: np.random.Generator) -> None:
    """Sums of more than two terms round by their order: all kernels keep to the one order, thus to the same bits."""
    problem = Pool(mode, 2, 17, 9, 10, 3, 3, (1, 1), PAD, layout=layout)
    skip_if_refused(kernel, problem)
    _, places = forward(FORWARD[-1], problem, integers(rng, problem.x_shape, "float32"))
    grad = normal(rng, problem.out_shape, "float32")
    same(backward(kernel, problem, grad, places), backward(BACKWARD_INPUT[-1], problem, grad, places), repr(problem))


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("kernel", FORWARD_KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("channels", [1, 4] if SIMULATED else [1, 15, 17, 33])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_nan_and_infinity_in_every_lane(kernel: Any, layout: str, channels: int, mode: str, rng: np.random.Generator) -> None:
    problem = Pool(mode, 1, channels, 5, 7, 3, 3, (2, 2), PAD, layout=layout)
    skip_if_refused(kernel, problem)
    special = np.array([np.nan, np.inf, -np.inf, 0, -1, 1], np.float32)
    x = rng.choice(special, problem.x_shape, p=[0.1, 0.15, 0.3, 0.15, 0.15, 0.15])
    got, places = forward(kernel, problem, x)
    expected, expected_places = forward(FORWARD[-1], problem, x)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(places, expected_places)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("kernel", FORWARD_KERNELS, ids=lambda kernel: kernel.name)
def test_the_first_of_equals_the_last_nan_and_minus_infinity(kernel: Any, layout: str) -> None:
    problem = Pool("max", 1, 1, 2, 8, 2, 2, (2, 2), layout=layout)
    skip_if_refused(kernel, problem)
    rows = [[5, 5, -np.inf, -np.inf, 1, np.nan, np.nan, 3], [5, 5, -np.inf, -np.inf, np.nan, 2, 9, np.nan]]
    x = np.array(rows, np.float32).reshape(problem.x_shape)
    got, places = forward(kernel, problem, x)
    np.testing.assert_array_equal(got.ravel(), [5, -np.inf, np.nan, np.nan])
    assert places.ravel().tolist() == [0, 2, 12, 15]  # of two NaN torch gives the position of the last


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("kernel", [each for each in FORWARD_KERNELS if each.target == "cpu"], ids=lambda kernel: kernel.name)
def test_the_same_bits_for_any_number_of_threads(kernel: Any, layout: str, mode: str, rng: np.random.Generator) -> None:
    problem = replace(LARGE, mode=mode, layout=layout)
    skip_if_refused(kernel, problem)
    ours = [other for other in BACKWARD_KERNELS if other.algorithm == kernel.algorithm and not other.refuses(problem)]
    backwards = ours[0] if ours else BACKWARD_KERNELS[-1]
    assert kernel.plan(problem, 2).threads == 2
    x, grad = normal(rng, problem.x_shape, "float32"), normal(rng, problem.out_shape, "float32")
    one, two = (forward(kernel, problem, x, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    same(backward(backwards, problem, grad, one[1], 2), backward(backwards, problem, grad, one[1], 1), repr(problem))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("mode", ["max", "average"])
def test_backward_is_the_adjoint(mode: str, layout: str, rng: np.random.Generator) -> None:
    """<grad, pool(x)> = <x, backward(grad)>: pooling is linear, a maximum once its positions are chosen."""
    problem = Pool(
        mode, 2, 5, 7, 6, 3, 3, (2, 2), PAD, divisor=4 if mode == "average" else None, dtype="float64", layout=layout
    )
    x, grad = integers(rng, problem.x_shape, "float64"), integers(rng, problem.out_shape, "float64")
    first, back = (next(each for each in ranked if not each.refuses(problem)) for ranked in (FORWARD, BACKWARD_INPUT))
    out, places = forward(first, problem, x)
    assert (grad * out).sum() == (x * backward(back, problem, grad, places)).sum()


@pytest.mark.parametrize("kernel", here(FORWARD + BACKWARD_INPUT), ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_no_images(kernel: Any, mode: str, layout: str) -> None:
    problem = Pool(mode, 0, 3, 4, 4, 2, 2, (2, 2), layout=layout)
    skip_if_refused(kernel, problem)
    x, pooled, indices = (np.empty(shape, "float32") for shape in (problem.x_shape, problem.out_shape, problem.out_shape))
    positions = [indices.astype("int32")] if mode == "max" else []
    arrays = (x, pooled, *positions) if kernel.direction == "forward" else (pooled, *positions, x)
    kernel.plan(problem, 2)(*arrays)


# ------------------------------------------------------------------------------------------------------------ public calls


def test_max_pool2d_returns_indices_and_takes_out(rng: np.random.Generator) -> None:
    x = normal(rng, (2, 3, 7, 6), "float32")
    out = np.empty((2, 3, 4, 3), "float32")
    got, indices = fc.max_pool2d(x, 3, 2, 1, return_indices=True, out=out)
    assert got is out
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(np.take_along_axis(x.reshape(2, 3, -1), indices.reshape(2, 3, -1), 2), out.reshape(2, 3, -1))
    grad = fc.max_pool2d_backward(np.ones_like(out), indices, x.shape, kernel_size=3, stride=2, padding=1)
    assert grad.sum() == out.size
    last = fc.max_pool2d(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), 3, 2, 1, layout="NHWC")
    np.testing.assert_array_equal(last.transpose(0, 3, 1, 2), out)
    np.testing.assert_array_equal(fc.max_pool2d(x[0], 3, 2, 1), out[0])
    np.testing.assert_array_equal(fc.max_pool2d(x, 3, 2, 1, target="numpy"), out)


def test_average_pooling(rng: np.random.Generator) -> None:
    x = integers(rng, (2, 3, 4, 6), "float32")
    expected = x.reshape(2, 3, 2, 2, 3, 2).mean(axis=(3, 5))
    np.testing.assert_array_equal(fc.avg_pool2d(x, 2), expected)
    np.testing.assert_array_equal(fc.avg_pool2d(x[:, :, :, ::-1], 2), expected[..., ::-1])
    grad = fc.avg_pool2d_backward(np.ones_like(expected), x.shape, 2)
    np.testing.assert_array_equal(grad, np.full(x.shape, 0.25, "float32"))
    np.testing.assert_array_equal(fc.avg_pool2d_backward(np.ones_like(expected[0]), x.shape[1:], 2), grad[0])
    np.testing.assert_allclose(fc.global_avg_pool(x), x.mean(axis=(2, 3)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        fc.global_avg_pool(x[0].transpose(1, 2, 0), layout="NHWC"), x[0].mean(axis=(1, 2)), rtol=1e-6, atol=1e-7
    )


IMAGES = np.zeros((1, 2, 4, 4), "float32")
READ_ONLY = np.zeros((1, 2, 2, 2), "float32")
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (fc.ArgumentError, "kernel_size: ", lambda: fc.max_pool2d(IMAGES, 0)),
        (fc.ArgumentError, "kernel_size: ", lambda: fc.max_pool2d(IMAGES, 5)),
        (fc.ArgumentError, "kernel_size: ", lambda: fc.avg_pool2d(IMAGES, (2, 2, 2))),
        (fc.ArgumentError, "stride: ", lambda: fc.max_pool2d(IMAGES, 2, 0)),
        (fc.ArgumentError, "padding: ", lambda: fc.max_pool2d(IMAGES, 2, padding=2)),
        (fc.ArgumentError, "padding: ", lambda: fc.avg_pool2d(IMAGES, 2, padding=-1)),
        (fc.ArgumentError, "dilation: ", lambda: fc.max_pool2d(IMAGES, 2, dilation=0)),
        (fc.ArgumentError, "divisor_override: ", lambda: fc.avg_pool2d(IMAGES, 2, divisor_override=0)),
        (fc.ArgumentError, "divisor_override: ", lambda: fc.avg_pool2d(IMAGES, 2, divisor_override=1.5)),  # type: ignore[arg-type]
        (fc.ArgumentError, "output_size: ", lambda: fc.adaptive_avg_pool2d(IMAGES, 0)),
        (fc.ArgumentError, "output_size: ", lambda: fc.adaptive_max_pool2d(IMAGES, (2, 2, 2))),  # type: ignore[arg-type]
        (fc.ArgumentError, "x: ", lambda: fc.adaptive_avg_pool2d(IMAGES[:, :, :0], 1)),
        (fc.ArgumentError, "layout: ", lambda: fc.max_pool2d(IMAGES, 2, layout="CHWN")),
        (fc.ArgumentError, "x: ", lambda: fc.max_pool2d(IMAGES[0, 0], 2)),
        (fc.ArgumentError, "x: ", lambda: fc.max_pool2d(IMAGES[:, :0], 2)),
        (fc.ArgumentError, "x: ", lambda: fc.global_avg_pool(IMAGES[:, :, :0])),
        (fc.DtypeError, "x: ", lambda: fc.max_pool2d(IMAGES.astype(np.int32), 2)),
        (fc.ArgumentError, "out: ", lambda: fc.max_pool2d(IMAGES, 2, out=READ_ONLY)),
        (fc.ArgumentError, "out: ", lambda: fc.max_pool2d(IMAGES, 1, out=IMAGES)),
        (fc.ArgumentError, "grad_output: ", lambda: fc.avg_pool2d_backward(IMAGES, (1, 2, 4, 4), 2)),
        (fc.ArgumentError, "input_shape: ", lambda: fc.avg_pool2d_backward(IMAGES, (2, 4, 4), 2)),
        (fc.DtypeError, "indices: ", lambda: fc.max_pool2d_backward(READ_ONLY, READ_ONLY, (1, 2, 4, 4), kernel_size=2)),
        (
            fc.ArgumentError,
            "indices: ",
            lambda: fc.max_pool2d_backward(READ_ONLY, np.zeros(3, np.int64), (1, 2, 4, 4), kernel_size=2),
        ),
    ],
)
def test_bad_input(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match="^" + message):
        call()


def test_positions_outside_the_window_receive_nothing() -> None:
    wild = np.array([99, -5, 2**40, 15]).reshape(1, 1, 2, 2)
    for layout in ("NCHW", "NHWC"):
        shape, given = ((1, 1, 4, 4), wild) if layout == "NCHW" else ((1, 4, 4, 1), wild.reshape(1, 2, 2, 1))
        grad = fc.max_pool2d_backward(np.ones(given.shape), given, shape, kernel_size=2, layout=layout)
        assert grad.ravel().tolist() == [0.0] * 15 + [1.0]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_indices_alone_say_where_gradients_go(layout):
    rng = np.random.default_rng(5)
    shape = (2, 3, 9, 8) if layout == "NCHW" else (2, 9, 8, 3)
    x = rng.standard_normal(shape)
    window = {"kernel_size": 3, "stride": 2, "padding": 1, "layout": layout}
    out, indices = fc.max_pool2d(x, return_indices=True, **window)
    grad = rng.integers(-4, 5, out.shape).astype(float)
    gathered = fc.max_pool2d_backward(grad, indices, shape, **window)
    np.testing.assert_array_equal(fc.max_pool2d_backward(grad, indices, shape, layout=layout), gathered)
    kept = np.full(shape, 7.0)
    with pytest.raises(fc.ArgumentError, match="indices: "):
        fc.max_pool2d_backward(grad, indices + 72, shape, layout=layout, out=kept)
    assert np.all(kept == 7)

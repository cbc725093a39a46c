"""Shape arithmetic: known values, the definition by counting windows, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv_kernels.problems import Conv, Matmul, Pool, Transposition, padding_pairs

ONE = ((1, 1), (1, 1))

# (size, kernel, stride, dilation, padding before, after) → outputs, as torch and TensorFlow have them
KNOWN = [
    ((28, 3, 1, 1, 1, 1), 28),
    ((28, 5, 1, 1, 0, 0), 24),
    ((224, 7, 2, 1, 3, 3), 112),
    ((227, 11, 4, 1, 0, 0), 55),
    ((7, 7, 1, 1, 0, 0), 1),
    ((10, 3, 2, 2, 0, 0), 3),
    ((10, 3, 3, 1, 0, 2), 4),
    ((5, 1, 7, 1, 0, 0), 1),
]


@pytest.mark.parametrize(("case", "outputs"), KNOWN, ids=str)
def test_known_sizes(case: tuple[int, ...], outputs: int) -> None:
    size, kernel, stride, dilation, before, after = case
    problem = Conv(1, 1, size, 99, 1, kernel, 1, (stride, 1), ((before, after), (0, 0)), (dilation, 1))
    assert (outputs, 99) == (problem.P, problem.Q)
    problem = Conv(1, 1, 99, size, 1, 1, kernel, (1, stride), ((0, 0), (before, after)), (1, dilation))
    assert (99, outputs) == (problem.P, problem.Q)


windows = st.tuples(*[st.integers(1, 9)] * 3, st.integers(0, 4), st.integers(0, 4))


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 40), window=windows)
def test_outputs_are_the_windows_that_fit(size: int, window: tuple[int, int, int, int, int]) -> None:
    kernel, stride, dilation, before, after = window
    reach, room = dilation * (kernel - 1) + 1, size + before + after
    if reach > room:
        with pytest.raises(ValueError, match=r"^weight: a window of"):
            Conv(1, 1, size, 1, 1, kernel, 1, (stride, 1), ((before, after), (0, 0)), (dilation, 1))
        return
    problem = Conv(1, 1, size, 1, 1, kernel, 1, (stride, 1), ((before, after), (0, 0)), (dilation, 1))
    assert sum(start + reach <= room for start in range(0, room, stride)) == problem.P


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 9), dilation=st.integers(1, 4))
def test_same_gives_a_stride_of_the_size(size: int, kernel: int, stride: int, dilation: int) -> None:
    (top, bottom), _ = pads = padding_pairs("same", (kernel, 1), (stride, 1), (dilation, 1), (size, 1))
    assert bottom - top in (0, 1)
    if size + top + bottom >= dilation * (kernel - 1) + 1:
        assert -(-size // stride) == Conv(1, 1, size, 1, 1, kernel, 1, (stride, 1), pads, (dilation, 1)).P


@pytest.mark.parametrize(
    ("padding", "pairs"),
    [
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (((1, 2), (3, 4)), ((1, 2), (3, 4))),
        ((1, (3, 4)), ((1, 1), (3, 4))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((1, 1), (0, 1))),
    ],
    ids=str,
)
def test_forms_of_padding(padding: Any, pairs: Any) -> None:
    assert padding_pairs(padding, (3, 3), (1, 2), (1, 1), (8, 8)) == pairs


@pytest.mark.parametrize("padding", ["full", 1.0, True, None, (1,), (1, 2, 3), ((1, 2), (3,)), ((1, 2), (3, "x"))], ids=str)
def test_no_forms_of_padding(padding: Any) -> None:
    with pytest.raises(ValueError, match=r"^padding: expected"):
        padding_pairs(padding, (3, 3), (1, 1), (1, 1), (8, 8))


def test_shapes_flops_and_bytes() -> None:
    problem = Conv(2, 4, 9, 10, 6, 3, 5, (2, 1), ONE, (1, 2), 2)
    assert (problem.x_shape, problem.weight_shape, problem.out_shape) == ((2, 4, 9, 10), (6, 2, 3, 5), (2, 6, 5, 4))
    last = problem.with_layout("NHWC")
    assert (last.x_shape, last.weight_shape, last.out_shape) == ((2, 9, 10, 4), (3, 5, 2, 6), (2, 5, 4, 6))
    assert last.with_layout("NCHW") == problem
    assert problem.depth == 2 * 3 * 5
    assert problem.flops == 2 * (2 * 6 * 5 * 4) * (2 * 3 * 5) == last.flops
    assert problem.bytes == 4 * (2 * 4 * 9 * 10 + 6 * 2 * 3 * 5 + 2 * 6 * 5 * 4)
    assert not problem.pointwise
    assert Conv(1, 3, 5, 5, 7, 1, 1).pointwise
    assert Matmul(3, 5, 7, "float64").flops == 2 * 3 * 5 * 7
    assert Matmul(3, 5, 7, "float64").bytes == 8 * (21 + 35 + 15)
    assert Transposition(2, 3, 5).bytes == 2 * 4 * 30


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 30), kernel=st.integers(1, 6), stride=st.integers(1, 6), pad=st.integers(0, 3))
def test_ceil_mode_keeps_only_windows_that_begin_in_the_image(size: int, kernel: int, stride: int, pad: int) -> None:
    pad = min(pad, kernel // 2)
    if kernel > size + 2 * pad:
        return
    problem = Pool("max", 1, 1, size, 1, kernel, 1, (stride, 1), ((pad, pad), (0, 0)), ceil=True)
    floor = Pool("max", 1, 1, size, 1, kernel, 1, (stride, 1), ((pad, pad), (0, 0)))
    assert problem.P in (floor.P, floor.P + 1)
    assert (problem.P - 1) * stride < size + pad, "the last window begins behind the image"
    if problem.P == floor.P:
        reached = (problem.P - 1) * stride + kernel
        assert reached >= size + 2 * pad or problem.P * stride >= size + pad, "a window that begins in the image is missing"


REFUSED: dict[str, tuple[str, Any]] = {
    "groups": ("groups: expected a divisor of C = 4 and K = 6, got 4", lambda: Conv(1, 4, 5, 5, 6, 3, 3, groups=4)),
    "no groups": ("groups: ", lambda: Conv(1, 4, 5, 5, 6, 3, 3, groups=0)),
    "no outputs": ("weight: expected at least one output channel", lambda: Conv(1, 4, 5, 5, 0, 3, 3)),
    "no channels": ("x: expected at least one channel", lambda: Conv(1, 0, 5, 5, 1, 3, 3)),
    "fewer than no images": ("x: ", lambda: Conv(-1, 1, 5, 5, 1, 3, 3)),
    "no rows": ("x: ", lambda: Conv(1, 1, 0, 5, 1, 1, 1, padding=ONE)),
    "no taps": ("weight: expected numbers from 1", lambda: Conv(1, 1, 5, 5, 1, 0, 3)),
    "stride": ("stride: ", lambda: Conv(1, 1, 5, 5, 1, 3, 3, (0, 1))),
    "dilation": ("dilation: ", lambda: Conv(1, 1, 5, 5, 1, 3, 3, dilation=(1, 0))),
    "padding": ("padding: ", lambda: Conv(1, 1, 5, 5, 1, 3, 3, padding=((0, 0), (0, -1)))),
    "window": ("weight: a window of 6 pixels does not fit into the width of 5", lambda: Conv(1, 1, 5, 5, 1, 3, 6)),
    "pool's window": ("kernel_size: a window of 6", lambda: Pool("max", 1, 1, 5, 5, 6, 3)),
    "pool's padding": ("padding: expected at most half", lambda: Pool("max", 1, 1, 5, 5, 2, 2, padding=((2, 0), (0, 0)))),
    "mode": ("mode: ", lambda: Pool("median", 1, 1, 5, 5, 2, 2)),
    "divisor": ("divisor_override: ", lambda: Pool("average", 1, 1, 5, 5, 2, 2, divisor=0)),
    "dtype": ("dtype: expected one of float32, float64, got float16", lambda: Conv(1, 1, 5, 5, 1, 3, 3, dtype="float16")),
    "layout": ("layout: ", lambda: Conv(1, 1, 5, 5, 1, 3, 3, layout="CHWN")),
    "sizes": ("a, b: expected sizes", lambda: Matmul(1, -1, 1)),
    "matmul's dtype": ("dtype: ", lambda: Matmul(1, 1, 1, "int8")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_impossible_problems(name: str) -> None:
    message, make = REFUSED[name]
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        make()


def test_problems_are_values() -> None:
    assert Conv(1, 1, 5, 5, 1, 3, 3) == Conv(1, 1, 5, 5, 1, 3, 3)
    assert len({Conv(1, 1, 5, 5, 1, 3, 3), Conv(1, 1, 5, 5, 1, 3, 3), Conv(2, 1, 5, 5, 1, 3, 3)}) == 2
    with pytest.raises(AttributeError):
        Conv(1, 1, 5, 5, 1, 3, 3).N = 2  # type: ignore[misc]

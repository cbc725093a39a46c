"""The problem that a public call would compute, from its arguments or from shapes in their place."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ..dispatch import LAYOUTS, Matmul
from ..errors import ArgumentError
from . import _check
from .conv import conv2d
from .conv_backward import conv2d_backward_input, conv2d_backward_weight
from .matmul import matmul

Described = tuple[Any, str, str]
"""(problem, operator, direction)"""


def _shape(name: str, value: Any, ranks: tuple[int, ...]) -> tuple[int, ...]:
    return _check.shape(name, getattr(value, "shape", value), ranks)


def _dtype(value: Any, dtype: Any) -> str:
    return _check.dtype_name("dtype", dtype or getattr(value, "dtype", "float32"))


def _conv(
    names: tuple[str, str],
    x: Any,
    weight: Any,
    window: tuple[Any, Any, Any, Any],
    dtype: str,
    layout: str,
) -> Any:
    _check.one_of("layout", layout, LAYOUTS)
    shape = _shape(names[0], x, (3, 4))
    shape = shape if len(shape) == 4 else (1, *shape)
    return _check.conv_problem(shape, _shape(names[1], weight, (4,)), *window, dtype, layout, names)


def _conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    *,
    layout: str = "NCHW",
    dtype: Any = None,
) -> Described:
    window = (stride, padding, dilation, groups)
    return _conv(("x", "weight"), x, weight, window, _dtype(x, dtype), layout), "conv", "forward"


def _conv2d_backward_input(
    grad_output: Any,
    weight: Any,
    input_shape: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    *,
    layout: str = "NCHW",
    dtype: Any = None,
) -> Described:
    window, dtype = (stride, padding, dilation, groups), _dtype(grad_output, dtype)
    return _conv(("input_shape", "weight"), input_shape, weight, window, dtype, layout), "conv", "backward_input"


def _conv2d_backward_weight(
    grad_output: Any,
    x: Any,
    weight_shape: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    *,
    layout: str = "NCHW",
    dtype: Any = None,
) -> Described:
    window, dtype = (stride, padding, dilation, groups), _dtype(grad_output, dtype)
    return _conv(("x", "weight_shape"), x, weight_shape, window, dtype, layout), "conv", "backward_weight"


def _matmul(a: Any, b: Any, *, dtype: Any = None) -> Described:
    left, right = _shape("a", a, (1, 2, 3, 4)), _shape("b", b, (2,))
    if left[-1] != right[0]:
        raise ArgumentError(f"b: expected {left[-1]} rows, as many as a has columns, got shapes {left} and {right}")
    return Matmul(prod(left[:-1]), right[1], right[0], _dtype(a, dtype)), "matmul", "forward"


DESCRIBERS: dict[Any, Callable[..., Described]] = {
    conv2d: _conv2d,
    conv2d_backward_input: _conv2d_backward_input,
    conv2d_backward_weight: _conv2d_backward_weight,
    matmul: _matmul,
}

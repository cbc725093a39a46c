"""The gradients of a convolution, and the transposed convolution, which is another name for the first."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv_kernels.cuda.device_array import DeviceArray

from .. import dispatch
from ..dispatch import Conv
from ..errors import ArgumentError, UnsupportedError
from . import _check
from ._check import Array, Ints
from ._epilogue import activate, known_activation
from ._launch import lent, run_backward_input, run_backward_weight
from ._placement import anywhere


@anywhere
def conv2d_backward_input(
    grad_output: Any,
    weight: Any,
    input_shape: Any,
    stride: Ints = 1,
    padding: Any = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    precision: str | None = None,
    max_workspace_bytes: int | None = None,
) -> Array:
    """The gradient of ``conv2d`` by its input.

    Parameters
    ----------
    grad_output : (N, K, P, Q) or (K, P, Q), float32 or float64
        The gradient of the convolution's result; channels last with ``layout="NHWC"``.
    weight : (K, C / groups, R, S), dtype of ``grad_output``
        (R, S, C / groups, K) with ``layout="NHWC"``.
    input_shape : (int, …)
        Of ``x``: with the batch axis if ``grad_output`` has it.
    out : input_shape, optional
        Overwritten in place.
    stride, padding, dilation, groups, layout, algorithm, target, accuracy, precision, max_workspace_bytes
        As in ``conv2d``.

    Returns
    -------
    input_shape

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``conv2d``.
    """
    gradient, batched = _check.images("grad_output", grad_output, layout)
    dtype = gradient.dtype.newbyteorder("=")
    weight = _check.weights("weight", weight, layout, dtype)
    shape = _check.shape("input_shape", input_shape, (4 if batched else 3,))
    shapes = shape if batched else (1, *shape), weight.shape
    window, asked = (stride, padding, dilation, groups), (algorithm, target, accuracy, precision, max_workspace_bytes)
    problem, lender = _gradient(dispatch.around(), "backward_input", *shapes, *window, dtype, layout, *asked)
    _check.shaped("grad_output", gradient, problem.out_shape, dtype)
    out = _check.output(out, shape, dtype, {"grad_output": gradient, "weight": weight})
    run_backward_input(lender, layout, gradient, weight, out.reshape(problem.x_shape))
    return out


@anywhere
def conv2d_backward_weight(
    grad_output: Any,
    x: Any,
    weight_shape: Any,
    stride: Ints = 1,
    padding: Any = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    precision: str | None = None,
    max_workspace_bytes: int | None = None,
) -> Array:
    """The gradient of ``conv2d`` by its weight, summed over the batch.

    Parameters
    ----------
    grad_output : (N, K, P, Q) or (K, P, Q), float32 or float64
        The gradient of the convolution's result; channels last with ``layout="NHWC"``.
    x : (N, C, H, W) or (C, H, W), dtype of ``grad_output``
        The convolution's input.
    weight_shape : (K, C / groups, R, S)
        (R, S, C / groups, K) with ``layout="NHWC"``.
    out : weight_shape, optional
        Overwritten in place.
    stride, padding, dilation, groups, layout, algorithm, target, accuracy, precision, max_workspace_bytes
        As in ``conv2d``.

    Returns
    -------
    weight_shape
        Zeros for a batch of no images.

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``conv2d``.
    """
    gradient, batched = _check.images("grad_output", grad_output, layout)
    dtype = gradient.dtype.newbyteorder("=")
    x, alike = _check.images("x", x, layout, dtype)
    if batched != alike:
        raise ArgumentError("x: expected a batch axis exactly if grad_output has one")
    shape = _check.shape("weight_shape", weight_shape, (4,))
    window, asked = (stride, padding, dilation, groups), (algorithm, target, accuracy, precision, max_workspace_bytes)
    problem, lender = _gradient(dispatch.around(), "backward_weight", x.shape, shape, *window, dtype, layout, *asked)
    _check.shaped("grad_output", gradient, problem.out_shape, dtype)
    out = _check.output(out, shape, dtype, {"grad_output": gradient, "x": x})
    run_backward_weight(lender, layout, gradient, x, out)
    return out


NAMES = {"backward_input": ("input_shape", "weight"), "backward_weight": ("x", "weight_shape")}
"""Of the arguments that say what shapes the input and the weight have."""


@dispatch.remembered
def _gradient(
    _around: dispatch.Around,
    direction: str,
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    dtype: np.dtype[Any],
    layout: str,
    *asked: Any,
) -> tuple[Conv, dispatch.Lender]:
    """(the convolution, who computes its gradient)."""
    window, names = (stride, padding, dilation, groups), NAMES[direction]
    problem = _check.conv_problem(x_shape, weight_shape, *window, dtype.name, layout, names)
    return problem, lent("conv", direction, problem, *asked)


@anywhere
def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Any = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
    *,
    activation: str | None = None,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    precision: str | None = None,
    max_workspace_bytes: int | None = None,
) -> Array:
    """Transposed convolution: the gradient by the input of the convolution that has this one's output as its input.

    Parameters
    ----------
    x : (N, C, H, W) or (C, H, W), float32 or float64
        Channels last with ``layout="NHWC"``.
    weight : (C, K / groups, R, S), dtype of ``x``
        (R, S, K / groups, C) with ``layout="NHWC"``.
    bias : (K,), optional
    padding : int, (int, int) or ((top, bottom), (left, right))
        Pixels cut off the result.
    output_padding : int or (int, int)
        Rows and columns more at the bottom and right, less than the stride.
    activation : str, optional
        Applied after the bias.
    out : shape of the result, optional
        Overwritten in place.
    stride, groups, dilation, layout, algorithm, target, accuracy, precision, max_workspace_bytes
        As in ``conv2d``.

    Returns
    -------
    (N, K, P, Q), or (K, P, Q), or with the channels last
        P = (H - 1) * stride[0] - top - bottom + dilation[0] * (R - 1) + 1 + output_padding[0]; Q alike.

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``conv2d``.
    """
    known_activation(activation)
    x, batched = _check.images("x", x, layout)
    dtype = x.dtype.newbyteorder("=")
    weight = _check.weights("weight", weight, layout, dtype)
    window = stride, padding, output_padding, dilation, groups
    asked = algorithm, target, accuracy, precision, max_workspace_bytes
    problem, lender = _transposed(dispatch.around(), x.shape, weight.shape, *window, dtype, layout, *asked)
    shape = problem.x_shape if batched else problem.x_shape[1:]
    if isinstance(bias, DeviceArray):
        raise UnsupportedError("bias: expected None on a CUDA device, where transposed convolutions have none in this version")
    bias = None if bias is None else _check.contiguous(_check.shaped("bias", bias, (problem.C,), dtype))
    out = _check.output(out, shape, dtype, {"x": x, "weight": weight, "bias": bias})
    run_backward_input(lender, layout, x, weight, out.reshape(problem.x_shape))
    if bias is not None:
        out += bias if layout == "NHWC" else bias[:, None, None]
    activate(activation, out, lender.kernel.target, had_fused=False)
    return out


@dispatch.remembered
def _transposed(
    _around: dispatch.Around,
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: Any,
    dtype: np.dtype[Any],
    layout: str,
    *asked: Any,
) -> tuple[Conv, dispatch.Lender]:
    """(the convolution whose gradient by the input is asked for, who computes it)."""
    window = stride, padding, output_padding, dilation, groups
    problem = _transposed_problem(x_shape, weight_shape, *window, dtype.name, layout)
    return problem, lent("conv", "backward_input", problem, *asked)


def _transposed_problem(
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: Any,
    dtype: str,
    layout: str,
) -> Conv:
    """The convolution whose gradient by the input is asked for: its output is ``x``."""
    stride, dilation = _check.pair("stride", stride, 1), _check.pair("dilation", dilation, 1)
    extra = _check.pair("output_padding", output_padding, 0)
    if extra[0] >= stride[0] or extra[1] >= stride[1]:
        raise ArgumentError(f"output_padding: expected less than the stride {stride}, got {extra}")
    if isinstance(padding, str):
        raise ArgumentError(f"padding: expected integers in a transposed convolution, got {padding!r}")
    if not _check.integer(groups) or groups < 1:
        raise ArgumentError(f"groups: expected an integer of at least 1, got {groups!r}")
    (N, C, *size), (channels, depth, *taps) = x_shape, weight_shape
    if layout == "NHWC":
        N, *size, C = x_shape
        *taps, depth, channels = weight_shape
    if channels != C:
        raise ArgumentError(f"weight: expected {C} input channels as x has, got {channels} in the shape {weight_shape}")
    try:
        pads = dispatch.padding_pairs(padding, (taps[0], taps[1]), stride, dilation, (size[0], size[1]))
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    if min(size) < 1:
        raise ArgumentError(f"x: expected at least one row and column, got shape {x_shape}")
    P, Q = (
        (length - 1) * step - sum(sides) + gap * (reach - 1) + 1 + more
        for length, step, sides, gap, reach, more in zip(size, stride, pads, dilation, taps, extra, strict=True)
    )
    if min(P, Q) < 1:
        raise ArgumentError(f"padding: cuts the whole result off, which would be of {P} by {Q} pixels")
    result = (N, depth * groups, P, Q) if layout == "NCHW" else (N, P, Q, depth * groups)
    return _check.conv_problem(result, weight_shape, stride, pads, dilation, groups, dtype, layout)

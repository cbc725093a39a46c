"""Convolution: two-dimensional, and one-dimensional as images of one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv_kernels.cuda.device_array import DeviceArray

from .. import dispatch
from ..dispatch import Conv
from ..errors import ArgumentError
from . import _check
from ._check import Array, Ints
from ._epilogue import activate, fused, known_activation
from ._launch import lent, run_forward
from ._padding import framed
from ._placement import anywhere


@anywhere
def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Ints = 1,
    padding: Any = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    activation: str | None = None,
    residual: Any = None,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
    accuracy: str | None = None,
    precision: str | None = None,
    max_workspace_bytes: int | None = None,
) -> Array:
    """Two-dimensional cross-correlation: activation(x * weight + bias + residual).

    Parameters
    ----------
    x : (N, C, H, W) or (C, H, W), float32 or float64
        (N, H, W, C) or (H, W, C) with ``layout="NHWC"``.  Any strides; copied at most once.
    weight : (K, C / groups, R, S), dtype of ``x``
        (R, S, C / groups, K) with ``layout="NHWC"``.
    bias : (K,), optional
    stride, dilation : int or (int, int)
        Pixels, (vertical, horizontal).
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Pixels.  "same" gives ceil(H / stride) rows, the odd one at the bottom, and columns alike.
    groups : int
        Divides C and K; group g of the outputs sees group g of the inputs alone.
    padding_mode : "zeros", "reflect", "replicate" or "circular"
        What the padding holds; all but zeros copy the padded input once.
    activation : str, optional
        "relu" is fused into the convolution; leaky_relu, elu, sigmoid and tanh follow it.
    residual : shape of the result, optional
        Added before the activation.
    layout : "NCHW" or "NHWC"
    out : optional
        Overwritten in place; C-contiguous, of ``x``'s dtype, overlapping with no input.
    algorithm, target, accuracy, precision : str, optional
        See ``fastconv.use``; what ``accuracy`` decides is said below.
    max_workspace_bytes : int, optional
        Kernels whose plan's workspace is larger refuse; Winograd's takes smaller blocks first.

    Returns
    -------
    (N, K, P, Q), or (K, P, Q), or with the channels last
        P = (H + top + bottom - dilation[0] * (R - 1) - 1) // stride[0] + 1; Q alike.

    Raises
    ------
    ArgumentError, DtypeError
        An argument of a wrong value, shape or dtype.
    UnsupportedError
        No kernel computes it as asked; with the reasons of each.
    TargetUnavailableError
        The target cannot run here.

    Notes
    -----
    Work 2*N*K*P*Q*C/groups*R*S flop.

    ``accuracy="fast"``, the default, permits Winograd's F(4x4, 3x3) and F(4x4, 5x5) where they are faster: 3x3 and 5x5
    windows, no stride, dilation or groups.  A plain sum of T = C / groups * R * S products errs by at most gamma_T * (abs(x) *
    abs(weight)), where gamma_T = T*u / (1 - T*u) and u is the unit roundoff.  These declare a bound 64 times as large, for
    data of one magnitude: 4x4 outputs are computed together from a patch of 6x6 or 8x8 pixels, and what is rounded anywhere in
    the patch reaches all of them, so that beside values a thousand times larger digits are lost.  ``accuracy="precise"``
    permits a bound 8 times as large, which admits F(2x2, 3x3) and F(2x2, 5x5): on normal data their errors are about those of
    a plain sum.  ``accuracy="exact"`` forbids them all.  A kernel that is forbidden is passed over, and asking for it by name
    too raises ``UnsupportedError``.  NaN and infinity reach the outputs whose windows meet them and no others in every kernel.
    Whether a weight that is not finite makes NaN of the zeros of padding is left open: some kernels multiply them, some (as
    torch's) leave them out.
    """
    known_activation(activation)
    x, batched = _check.images("x", x, layout)
    dtype = x.dtype.newbyteorder("=")
    weight = _check.weights("weight", weight, layout, dtype)
    window = stride, padding, dilation, groups, padding_mode
    asked = algorithm, target, accuracy, precision, max_workspace_bytes
    problem, pads, lender = _convolution(dispatch.around(), x.shape, weight.shape, *window, dtype, layout, *asked)
    shape = problem.out_shape if batched else problem.out_shape[1:]
    bias = None if bias is None else _check.contiguous(_check.shaped("bias", bias, (problem.K,), dtype))
    residual = None if residual is None else _check.shaped("residual", residual, shape, dtype)
    out = _check.output(out, shape, dtype, {"x": x, "weight": weight, "bias": bias, "residual": residual})
    images = out.reshape(problem.out_shape)
    addend = None if residual is None else residual.reshape(problem.out_shape)
    run_forward(lender, problem.layout, pads(x), weight, images, bias, addend, fused(activation))
    activate(activation, out, lender.kernel.target)
    return out


@dispatch.remembered
def _convolution(
    _around: dispatch.Around,
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: str,
    dtype: np.dtype[Any],
    layout: str,
    *asked: Any,
) -> tuple[Conv, Callable[[Array], Array], dispatch.Lender]:
    """(the convolution, what has to be done to its input before, who computes it)."""
    problem, pads = framed(x_shape, weight_shape, stride, padding, dilation, groups, padding_mode, dtype.name, layout)
    return problem, pads, lent("conv", "forward", problem, *asked)


@anywhere
def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    groups: int = 1,
    *,
    layout: str = "NCHW",
    residual: Any = None,
    out: Array | None = None,
    **keywords: Any,
) -> Array:
    """One-dimensional cross-correlation: ``conv2d`` of images of one row.

    Parameters
    ----------
    x : (N, C, W) or (C, W), float32 or float64
        (N, W, C) or (W, C) with ``layout="NHWC"``.
    weight : (K, C / groups, S), dtype of ``x``
        (S, C / groups, K) with ``layout="NHWC"``.
    stride, dilation : int
    padding : int, (left, right), "same" or "valid"
    residual, out : shape of the result, optional
    bias, groups, **keywords
        As in ``conv2d``.

    Returns
    -------
    (N, K, Q) or (K, Q), or with the channels last

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``conv2d``.
    """
    _check.one_of("layout", layout, dispatch.LAYOUTS)
    x = _check.array("x", x)
    dtype = x.dtype.newbyteorder("=")
    weight = _check.array("weight", weight, dtype)
    for name, value, ranks in (("x", x, (2, 3)), ("weight", weight, (3,))):
        if value.ndim not in ranks:
            raise ArgumentError(f"{name}: expected {' or '.join(map(str, ranks))} axes, got shape {value.shape}")
    for name, value in (("stride", stride), ("dilation", dilation)):
        if not _check.integer(value):
            raise ArgumentError(f"{name}: expected an integer, got {value!r}")
    if not isinstance(padding, str):
        left, right = _check.pair("padding", padding, 0)
        padding = ((0, 0), (left, right))
    row, tap = (-2, -2) if layout == "NCHW" else (-3, 0)  # where the axis of the one row goes
    if residual is not None:
        residual = np.expand_dims(_check.array("residual", residual, dtype), row)
    if isinstance(out, (np.ndarray, DeviceArray)):
        out = np.expand_dims(out, row)
    images = np.expand_dims(x, row)
    kernel = np.expand_dims(weight, tap)
    result = conv2d(
        images,
        kernel,
        bias,
        (1, stride),
        padding,
        (1, dilation),
        groups,
        layout=layout,
        residual=residual,
        out=out,
        **keywords,
    )
    return np.squeeze(result, row)

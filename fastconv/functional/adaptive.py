"""Adaptive pooling: the number of windows is given, and they are as even as the image allows."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dispatch
from ..dispatch import Pool, Settings, adaptive_windows
from ..errors import ArgumentError
from . import _check
from ._check import Array, Shape
from ._layout import entering, image_view, leaving, room
from ._placement import anywhere
from ._pooling import batched_shape, unbatched
from .pool import avg_pool2d

Sizes = int | tuple[int | None, int | None] | None


@anywhere
def adaptive_avg_pool2d(
    x: Any,
    output_size: Sizes,
    *,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """The mean of each of P x Q windows, as ``torch.nn.functional.adaptive_avg_pool2d`` has it.

    Parameters
    ----------
    x : (N, C, H, W) or (C, H, W), float32 or float64
        (N, H, W, C) or (H, W, C) with ``layout="NHWC"``.
    output_size : int or (P, Q)
        Window p of P takes the rows from p * H // P on and before (p + 1) * H / P, columns likewise; None for as many as
        there are pixels.
    layout : "NCHW" or "NHWC"
    out : optional
        Overwritten in place; C-contiguous, of ``x``'s dtype, overlapping with no input.
    algorithm, target : str, optional
        See ``fastconv.use``.

    Returns
    -------
    (N, C, P, Q), or (C, P, Q), or with the channels last

    Raises
    ------
    ArgumentError, DtypeError
        An argument of a wrong value, shape or dtype.
    UnsupportedError, TargetUnavailableError
        No kernel computes it as asked.
    """
    pooled, _ = _forward("average", x, output_size, layout, out, False, Settings(target, algorithm))
    return pooled


@anywhere
def adaptive_max_pool2d(
    x: Any,
    output_size: Sizes,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array | tuple[Array, Array]:
    """The largest element of each window of ``adaptive_avg_pool2d``; with ``return_indices`` also where, as ``max_pool2d``.

    ``max_pool2d_backward`` without ``kernel_size`` is its gradient.  Arguments and errors as ``adaptive_avg_pool2d``.
    """
    pooled, indices = _forward("max", x, output_size, layout, out, return_indices, Settings(target, algorithm))
    return pooled if indices is None else (pooled, indices)


@anywhere
def adaptive_avg_pool2d_backward(
    grad_output: Any,
    input_shape: Shape,
    *,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """The gradient of ``adaptive_avg_pool2d``'s input, of ``input_shape``; ``grad_output`` has the shape of the result."""
    given, batched = _check.images("grad_output", grad_output, layout)
    shape, dtype = batched_shape(input_shape, batched), given.dtype.newbyteorder("=")
    sizes = given.shape[2:] if layout == "NCHW" else given.shape[1:3]
    problem = _problem("average", shape, sizes, layout, dtype, "input_shape")
    _check.shaped("grad_output", given, problem.with_layout(layout).out_shape, dtype)
    result = _check.output(out, unbatched(shape, batched), dtype, {"grad_output": given})
    lender = dispatch.lender("pool", "backward_input", problem, Settings(target, algorithm))
    images, inner, where = result.reshape(shape), problem.layout, lender.kernel.target
    written = room(images, layout, inner)
    with lender.lend() as plan:
        plan(entering(given, layout, inner, where), written)
    leaving(written, images, layout, where)
    return result


def _forward(
    mode: str, x: Any, output_size: Sizes, layout: str, out: Array | None, wanted: bool, asked: Settings
) -> tuple[Array, Array | None]:
    """(the pooled images, the positions if they are wanted)"""
    x, batched = _check.images("x", x, layout)
    dtype = x.dtype.newbyteorder("=")
    problem = _problem(mode, x.shape, output_size, layout, dtype, "x")
    shape, inner = problem.with_layout(layout).out_shape, problem.layout
    result = _check.output(out, unbatched(shape, batched), dtype, {"x": x})
    lender = dispatch.lender("pool", "forward", problem, asked)
    images, where = result.reshape(shape), lender.kernel.target
    written = room(images, layout, inner)
    places = _check.new(problem.out_shape, np.int64, x) if wanted else None
    with lender.lend() as plan:
        plan(entering(x, layout, inner, where), written, places)
    leaving(written, images, layout, where)
    if places is None:
        return result, None
    return result, _check.contiguous(image_view(places, inner, layout)).reshape(result.shape)


def _problem(mode: str, shape: Shape, output_size: Any, layout: str, dtype: np.dtype[Any], name: str) -> Pool:
    """Windows that are all alike are an ordinary pooling; others are pooled in NHWC, where each may have a size of its own."""
    N, C, H, W = shape if layout == "NCHW" else (shape[0], shape[3], shape[1], shape[2])
    P, Q = _sizes(output_size, (H, W))
    try:
        if H % P == 0 and W % Q == 0:
            R, S = H // P, W // Q
            return Pool(mode, N, C, H, W, R, S, (R, S), dtype=dtype.name, layout=layout)
        R, S = (max(map(len, adaptive_windows(length, outputs)), default=1) for length, outputs in ((H, P), (W, Q)))
        return Pool(mode, N, C, H, W, R, S, dtype=dtype.name, layout="NHWC", adaptive=(P, Q))
    except ValueError as error:
        argument, _, message = str(error).partition(":")
        raise ArgumentError(f"{name if argument in ('x', 'kernel_size') else argument}:{message}") from None


def _sizes(output_size: Any, pixels: tuple[int, int]) -> tuple[int, int]:
    sizes = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    given = tuple(length if size is None else size for size, length in zip(sizes, pixels, strict=False))
    if len(sizes) != 2 or not all(_check.integer(size) and size >= 1 for size in given):
        raise ArgumentError(f"output_size: expected an integer of at least 1, None, or a pair of them, got {output_size!r}")
    return int(given[0]), int(given[1])


@anywhere
def global_avg_pool(
    x: Any,
    *,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """The mean of every channel over all pixels.

    Parameters
    ----------
    x : (N, C, H, W) or (C, H, W), float32 or float64
        (N, H, W, C) or (H, W, C) with ``layout="NHWC"``.
    out, algorithm, target
        As in ``max_pool2d``.

    Returns
    -------
    (N, C) or (C,)

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``max_pool2d``.

    References
    ----------
    Lin, Chen, Yan, "Network In Network", 2014.
    """
    x, batched = _check.images("x", x, layout)
    (N, C), size = (x.shape[:2], x.shape[2:]) if layout == "NCHW" else ((x.shape[0], x.shape[3]), x.shape[1:3])
    if not all(size):
        raise ArgumentError(f"x: expected at least one row and column, got shape {x.shape}")
    out = _check.output(out, (N, C) if batched else (C,), x.dtype.newbyteorder("="), {"x": x})
    shape = (N, C, 1, 1) if layout == "NCHW" else (N, 1, 1, C)
    avg_pool2d(x, size, layout=layout, out=out.reshape(shape), algorithm=algorithm, target=target)
    return out

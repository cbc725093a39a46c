"""Pooling: the maximum or the mean of windows of an image, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv_kernels.cuda.device_array import DeviceArray

from ..dispatch import around
from ..errors import ArgumentError, UnsupportedError
from . import _check
from ._check import Array, Ints, Shape
from ._placement import anywhere
from ._pooling import batched_shape, divisor_of, index_array, pooling, scatter, unbatched


@anywhere
def max_pool2d(
    x: Any,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Any = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array | tuple[Array, Array]:
    """The largest element of each window, as ``torch.nn.functional.max_pool2d`` has it.

    Parameters
    ----------
    x : (N, C, H, W) or (C, H, W), float32 or float64
        (N, H, W, C) or (H, W, C) with ``layout="NHWC"``.
    kernel_size, stride, dilation : int or (int, int)
        Pixels, (vertical, horizontal); ``stride`` is ``kernel_size`` if it is not given.
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Pixels of -infinity, at most half of the window.
    ceil_mode : bool
        A last window that begins in the image or its upper padding counts, though it ends beyond the lower padding.
    return_indices : bool
        Give back as well where each maximum is.
    layout : "NCHW" or "NHWC"
    out : optional
        Overwritten in place; C-contiguous, of ``x``'s dtype, overlapping with no input.
    algorithm, target : str, optional
        See ``fastconv.use``.

    Returns
    -------
    (N, C, P, Q), or (C, P, Q), or with the channels last
        P = (H + top + bottom - dilation[0] * (kernel_size[0] - 1) - 1) // stride[0] + 1, rounded up with ``ceil_mode``.
        With ``return_indices`` also the positions h * W + w in their plane, int64: the first of equal maxima.  A NaN
        is larger than everything.

    Raises
    ------
    ArgumentError, DtypeError
        An argument of a wrong value, shape or dtype.
    UnsupportedError, TargetUnavailableError
        No kernel computes it as asked.
    """
    x, batched = _check.images("x", x, layout)
    window = kernel_size, stride, padding, dilation, ceil_mode
    problem, lender = pooling(around(), "forward", algorithm, target, "max", x.shape, layout, x.dtype, *window)
    out = _check.output(out, unbatched(problem.out_shape, batched), x.dtype.newbyteorder("="), {"x": x})
    indices = _check.new(out.shape, np.int64, out) if return_indices else None
    with lender.lend() as plan:
        places = None if indices is None else indices.reshape(problem.out_shape)
        plan(_check.contiguous(x), out.reshape(problem.out_shape), places)
    return out if indices is None else (out, indices)


@anywhere
def max_pool2d_backward(
    grad_output: Any,
    indices: Any,
    input_shape: Shape,
    *,
    kernel_size: Ints | None = None,
    stride: Ints | None = None,
    padding: Any = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """The gradient of ``max_pool2d``'s input: each element of ``grad_output`` goes to where its maximum was.

    Parameters
    ----------
    grad_output : (N, C, P, Q) or (C, P, Q), float32 or float64, or with the channels last
    indices : shape of ``grad_output``, int32 or int64
        As ``max_pool2d`` returns them.
    input_shape : tuple of int
        The shape of ``x``.
    kernel_size, stride, padding, dilation, ceil_mode, layout
        As given to ``max_pool2d``.  With them each pixel gathers from the windows that cover it, which is fast; without
        ``kernel_size`` the indices alone say where the gradients go, and NumPy adds them one by one.
    out : of ``input_shape``, optional
        Overwritten in place; C-contiguous, of ``grad_output``'s dtype, overlapping with no input.
    algorithm, target : str, optional
        See ``fastconv.use``.

    Returns
    -------
    of ``input_shape``

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``max_pool2d``.
    """
    given, batched = _check.images("grad_output", grad_output, layout)
    shape = batched_shape(input_shape, batched)
    if kernel_size is None:
        return _scattered(given, indices, shape, batched, layout, out)
    window = kernel_size, stride, padding, dilation, ceil_mode, True, None, "input_shape"
    problem, lender = pooling(around(), "backward_input", algorithm, target, "max", shape, layout, given.dtype, *window)
    _check.shaped("grad_output", given, problem.out_shape, given.dtype.newbyteorder("="))
    places = index_array(indices, unbatched(problem.out_shape, batched))
    out = _check.output(
        out, unbatched(shape, batched), given.dtype.newbyteorder("="), {"grad_output": given, "indices": places}
    )
    with lender.lend() as plan:
        plan(_check.contiguous(given), _check.contiguous(places).reshape(problem.out_shape), out.reshape(shape))
    return out


@anywhere
def avg_pool2d(
    x: Any,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """The mean of each window, as ``torch.nn.functional.avg_pool2d`` has it.

    Parameters
    ----------
    x, kernel_size, stride, ceil_mode, layout, out, algorithm, target
        As in ``max_pool2d``.
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Pixels of zeros, at most half of the window.
    count_include_pad : bool
        Whether the padding counts in a window's number of pixels, by which its sum is divided.
    divisor_override : int, optional
        Divides every sum instead.

    Returns
    -------
    (N, C, P, Q), or (C, P, Q), or with the channels last

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``max_pool2d``.
    """
    x, batched = _check.images("x", x, layout)
    window = kernel_size, stride, padding, 1, ceil_mode, count_include_pad, divisor_of(divisor_override)
    problem, lender = pooling(around(), "forward", algorithm, target, "average", x.shape, layout, x.dtype, *window)
    out = _check.output(out, unbatched(problem.out_shape, batched), x.dtype.newbyteorder("="), {"x": x})
    with lender.lend() as plan:
        plan(_check.contiguous(x), out.reshape(problem.out_shape))
    return out


@anywhere
def avg_pool2d_backward(
    grad_output: Any,
    input_shape: Shape,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    layout: str = "NCHW",
    out: Array | None = None,
    algorithm: str | None = None,
    target: str | None = None,
) -> Array:
    """The gradient of ``avg_pool2d``'s input: each element of ``grad_output`` goes, divided, to all pixels of its window.

    Parameters
    ----------
    grad_output : (N, C, P, Q) or (C, P, Q), float32 or float64, or with the channels last
    input_shape : tuple of int
        The shape of ``x``.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, layout
        As given to ``avg_pool2d``.
    out : of ``input_shape``, optional
        Overwritten in place; C-contiguous, of ``grad_output``'s dtype, overlapping with no input.
    algorithm, target : str, optional
        See ``fastconv.use``.

    Returns
    -------
    of ``input_shape``

    Raises
    ------
    ArgumentError, DtypeError, UnsupportedError, TargetUnavailableError
        As ``max_pool2d``.
    """
    given, batched = _check.images("grad_output", grad_output, layout)
    shape, divisor = batched_shape(input_shape, batched), divisor_of(divisor_override)
    window = kernel_size, stride, padding, 1, ceil_mode, count_include_pad, divisor, "input_shape"
    problem, lender = pooling(around(), "backward_input", algorithm, target, "average", shape, layout, given.dtype, *window)
    _check.shaped("grad_output", given, problem.out_shape, given.dtype.newbyteorder("="))
    out = _check.output(out, unbatched(shape, batched), given.dtype.newbyteorder("="), {"grad_output": given})
    with lender.lend() as plan:
        plan(_check.contiguous(given), out.reshape(shape))
    return out


def _scattered(grad: Array, indices: Any, shape: Shape, batched: bool, layout: str, out: Array | None) -> Array:
    """The gradient of the input from the indices alone."""
    if isinstance(grad, DeviceArray):
        raise UnsupportedError(
            "kernel_size: expected the size of the windows; without it gradients of the host alone are added"
        )
    channel = 1 if layout == "NCHW" else 3
    if (grad.shape[0], grad.shape[channel]) != (shape[0], shape[channel]):
        raise ArgumentError(f"grad_output: expected the images and channels of input_shape {shape}, got shape {grad.shape}")
    places = index_array(indices, unbatched(grad.shape, batched))
    dtype = grad.dtype.newbyteorder("=")
    room = _check.output(out, unbatched(shape, batched), dtype, {"grad_output": grad, "indices": places})
    scatter(grad, places.reshape(grad.shape), room.reshape(shape), layout)
    return room

"""Images between the caller's layout and the kernel's: converted at most once each way, not at all where memory agrees."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv_kernels.cuda.device_array import DeviceArray

from .. import dispatch
from ._check import Array, contiguous, new, usable

CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def weight_view(weight: Array, layout: str, wanted: str) -> Array:
    """The same weights, seen as ``wanted`` has them: (K, C / G, R, S) or (R, S, C / G, K)."""
    if layout == wanted:
        return weight
    return weight.transpose(2, 3, 1, 0) if wanted == "NHWC" else weight.transpose(3, 2, 0, 1)


def filters(weight: Array, layout: str, wanted: str) -> Array:
    """The same weights as plans pack them: of any strides on the host, without gaps on a device, where they stay so."""
    view = usable(weight_view(weight, layout, wanted))
    return view.contiguous() if isinstance(view, DeviceArray) else view


FEW = 1 << 16
"""Elements of a weight that NumPy brings into another order before a kernel would have begun."""


def weight_leaving(weight: Array, out: Array, layout: str, wanted: str, target: str) -> None:
    """Bring ``weight``, in the layout ``layout``, to ``out`` in the layout ``wanted``; both C-contiguous.

    It is moved twice as images are: the output channels past all others, and the window past the input channels.
    """
    if out.size < FEW:
        np.copyto(out, weight_view(weight, layout, wanted))
        return
    K, depth, R, S = out.shape if wanted == "NCHW" else weight.shape
    first, second = (1, 1, R * S * depth, K), (K, R, S, depth)
    alike = 1 in (R * S, depth)  # past a single element nothing moves
    between = (out if wanted == "NCHW" else weight) if alike else new((K, R * S * depth), out.dtype, out)
    lines = between.reshape(1, K, 1, R * S * depth)
    if wanted == "NCHW":
        _transpose(weight.reshape(first), lines, wanted, target)
        if not alike:
            _transpose(between.reshape(second), out, wanted, target)
    else:
        if not alike:
            _transpose(weight, between.reshape(second), wanted, target)
        _transpose(lines, out.reshape(first), wanted, target)


def image_view(images: Array, layout: str, wanted: str) -> Array:
    """The same images, seen as ``wanted`` has them: (N, C, H, W) or (N, H, W, C)."""
    if layout == wanted:
        return images
    return images.transpose(CHANNELS_LAST if wanted == "NHWC" else CHANNELS_FIRST)


def entering(images: Array, layout: str, wanted: str, target: str) -> Array:
    """``images`` as a C-contiguous array in the layout ``wanted``."""
    view = image_view(images, layout, wanted)
    if layout == wanted or view.flags.c_contiguous or not images.flags.c_contiguous or not images.dtype.isnative:
        return contiguous(view)
    converted = new(view.shape, images.dtype, images)
    _transpose(contiguous(images), converted, wanted, target)
    return converted


def room(out: Array, layout: str, wanted: str) -> Array:
    """An array in the layout ``wanted`` for what ``leaving`` brings to ``out``: ``out`` itself where memory agrees."""
    view = image_view(out, layout, wanted)
    return view if view.flags.c_contiguous else new(view.shape, out.dtype, out)


def leaving(images: Array, out: Array, layout: str, target: str) -> None:
    """Bring ``images``, from ``room``, to ``out`` in the layout ``layout``."""
    if images is not out and not np.may_share_memory(images, out):
        _transpose(images, out, layout, target)


def _transpose(images: Array, out: Array, wanted: str, target: str) -> None:
    """Write ``images`` into ``out``, which is in the other layout; both C-contiguous."""
    N, C, H, W = images.shape if wanted == "NHWC" else out.shape
    operator = "nchw_to_nhwc" if wanted == "NHWC" else "nhwc_to_nchw"
    problem: Any = dispatch.Transposition(N, C, H * W, str(images.dtype))
    with dispatch.leased(operator, "forward", problem, target=target) as plan:
        shapes = ((N, C, H * W), (N, H * W, C)) if wanted == "NHWC" else ((N, H * W, C), (N, C, H * W))
        plan(images.reshape(shapes[0]), out.reshape(shapes[1]))

"""What the poolings check, and the gradient of a maximum from the indices alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv_kernels.cuda.device_array import DeviceArray

from .. import dispatch
from ..dispatch import Pool, padding_pairs
from ..errors import ArgumentError, DtypeError
from . import _check
from ._check import Array, Shape

INDEX_TYPES = ("int32", "int64")


def pool_problem(
    mode: str,
    shape: Shape,
    layout: str,
    dtype: np.dtype[Any],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    count_include_pad: bool = True,
    divisor: int | None = None,
    name: str = "x",
) -> Pool:
    """The problem of a pooling, all its numbers checked; ``name`` is the caller's for the input."""
    kernel = _check.pair("kernel_size", kernel_size, 1)
    steps = kernel if stride is None else _check.pair("stride", stride, 1)
    gaps = _check.pair("dilation", dilation, 1)
    N, C, H, W = shape if layout == "NCHW" else (shape[0], shape[3], shape[1], shape[2])
    try:
        pads = padding_pairs(padding, kernel, steps, gaps, (H, W))
        return Pool(
            mode,
            N,
            C,
            H,
            W,
            *kernel,
            stride=steps,
            padding=pads,
            dilation=gaps,
            ceil=bool(ceil_mode),
            count_padding=bool(count_include_pad),
            divisor=divisor,
            dtype=dtype.name,
            layout=layout,
        )
    except ValueError as error:
        argument, _, message = str(error).partition(":")
        raise ArgumentError(f"{name if argument == 'x' else argument}:{message}") from None


@dispatch.remembered
def pooling(
    _around: dispatch.Around, direction: str, algorithm: str | None, target: str | None, *description: Any
) -> tuple[Pool, dispatch.Lender]:
    """(the problem of ``pool_problem(*description)``, who computes it)."""
    problem = pool_problem(*description)
    return problem, dispatch.lender("pool", direction, problem, dispatch.Settings(target, algorithm))


def unbatched(shape: Shape, batched: bool) -> Shape:
    return shape if batched else shape[1:]


def batched_shape(input_shape: Any, batched: bool) -> Shape:
    """The shape of the input with its batch axis."""
    shape = _check.shape("input_shape", input_shape, (4,) if batched else (3,))
    return shape if batched else (1, *shape)


def divisor_of(divisor_override: Any) -> int | None:
    if divisor_override is None:
        return None
    if not _check.integer(divisor_override) or divisor_override == 0:
        raise ArgumentError(f"divisor_override: expected an integer other than 0, got {divisor_override!r}")
    return int(divisor_override)


def index_array(indices: Any, shape: Shape) -> Array:
    found: Array = indices if isinstance(indices, DeviceArray) else np.asarray(indices)  # type: ignore[assignment]
    if found.dtype.newbyteorder("=").name not in INDEX_TYPES:
        raise DtypeError(f"indices: expected {' or '.join(INDEX_TYPES)}, got {found.dtype}")
    if found.shape != shape:
        raise ArgumentError(f"indices: expected shape {shape}, as grad_output has it, got {found.shape}")
    return found


def scatter(grad_output: Array, indices: Array, out: Array, layout: str) -> None:
    """Add each element of ``grad_output`` to ``out`` at its index in the image plane, in the order of memory.

    An index of -1 belongs to a window without pixels: its gradient goes nowhere.

    Raises
    ------
    ArgumentError
        An index is outside the plane; ``out`` is as it was.
    """
    channel, rows = (1, (2, 3)) if layout == "NCHW" else (3, (1, 2))
    pixels = int(np.prod([out.shape[axis] for axis in rows]))
    if indices.size and not (indices.min() >= -1 and indices.max() < pixels):
        wrong = f"{indices.min()} to {indices.max()}"
        raise ArgumentError(f"indices: expected numbers below {pixels}, the pixels of input_shape, got {wrong}")
    out[...] = 0
    n, c = np.indices(grad_output.shape)[[0, channel]]
    plane = out.reshape(out.shape[0], out.shape[1], pixels) if layout == "NCHW" else out.reshape(len(out), pixels, -1)
    exists = indices >= 0
    place = (n, c, indices) if layout == "NCHW" else (n, indices, c)
    np.add.at(plane, tuple(part[exists] for part in place), grad_output[exists])

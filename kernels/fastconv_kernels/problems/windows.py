"""Problems of windows that move over images, convolution and pooling, and the arithmetic on their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from .arrays import check_dtype

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

LAYOUTS = ("NCHW", "NHWC")
NO_PADDING: Padding = ((0, 0), (0, 0))


def padding_pairs(padding: Any, kernel: Pair, stride: Pair, dilation: Pair, size: Pair) -> Padding:
    """((top, bottom), (left, right)) from every form a caller may write.

    Parameters
    ----------
    padding : int, (int, int), "same", "valid", or ((top, bottom), (left, right))
        ``"same"`` gives ceil(size / stride) outputs, the odd pixel at the bottom and right, as TensorFlow has it.
    kernel, stride, dilation, size : (int, int)
        Of the window and of the image, (vertical, horizontal).
    """
    if isinstance(padding, str) and padding == "valid":  # an array is asked nothing: its answers are arrays
        return NO_PADDING
    if isinstance(padding, str) and padding == "same":
        needed = [
            max(0, (-(-length // step) - 1) * step + gap * (extent - 1) + 1 - length)
            for extent, step, gap, length in zip(kernel, stride, dilation, size, strict=True)
        ]
        return (needed[0] // 2, needed[0] - needed[0] // 2), (needed[1] // 2, needed[1] - needed[1] // 2)
    if isinstance(padding, str):
        raise ValueError(f'padding: expected an integer, a pair, "same" or "valid", got {padding!r}')
    if _is_integer(padding):
        return (int(padding), int(padding)), (int(padding), int(padding))
    if isinstance(padding, Sequence) and len(padding) == 2:
        sides = [(side, side) if _is_integer(side) else side for side in padding]
        if all(isinstance(side, Sequence) and len(side) == 2 and all(map(_is_integer, side)) for side in sides):
            (top, bottom), (left, right) = sides
            return (int(top), int(bottom)), (int(left), int(right))
    expected = "an integer, (vertical, horizontal) or ((top, bottom), (left, right))"
    raise ValueError(f"padding: expected {expected}, got {padding!r}")


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _extent(size: int, kernel: int, stride: int, dilation: int, padding: Pair, ceil: bool = False) -> int:
    """Outputs along one axis."""
    room = size + sum(padding) - dilation * (kernel - 1) - 1
    outputs = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (outputs - 1) * stride >= size + padding[0]:
        outputs -= 1  # the last window would begin beyond the image, in the padding
    return outputs


LARGEST = 2**31 - 1
"""No window, step or border is larger; the arithmetic on shapes then stays within 64 bits."""


def _check_window(problem: Conv | Pool) -> None:
    """What the window of a convolution or a pooling must satisfy."""
    name = "weight" if isinstance(problem, Conv) else "kernel_size"
    for argument, values, least in (
        (name, (problem.R, problem.S), 1),
        ("stride", problem.stride, 1),
        ("dilation", problem.dilation, 1),
        ("padding", problem.padding[0] + problem.padding[1], 0),
    ):
        if min(values) < least or max(values) > LARGEST:
            raise ValueError(f"{argument}: expected numbers from {least} to {LARGEST}, got {values}")
    if min(problem.H, problem.W) < 1 or min(problem.N, problem.C - 1) < 0:
        raise ValueError(f"x: expected at least one channel, row and column, got (N, C, H, W) = {problem.x_shape_nchw}")
    for axis, size, kernel, dilation, padding in zip(
        ("height", "width"), (problem.H, problem.W), (problem.R, problem.S), problem.dilation, problem.padding, strict=True
    ):
        reach, room = dilation * (kernel - 1) + 1, size + sum(padding)
        if reach > room:
            raise ValueError(f"{name}: a window of {reach} pixels does not fit into the {axis} of {room} (padding included)")
    check_dtype(problem.dtype)
    if problem.layout not in LAYOUTS:
        raise ValueError(f"layout: expected one of {', '.join(LAYOUTS)}, got {problem.layout!r}")


class _Images:
    """Shapes of images in the problem's layout."""

    N: int
    C: int
    H: int
    W: int
    layout: str

    def image_shape(self, channels: int, height: int, width: int) -> tuple[int, int, int, int]:
        """A batch of images in the problem's layout."""
        if self.layout == "NCHW":
            return self.N, channels, height, width
        return self.N, height, width, channels

    @property
    def x_shape_nchw(self) -> tuple[int, int, int, int]:
        return self.N, self.C, self.H, self.W

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self.image_shape(self.C, self.H, self.W)


@dataclass(frozen=True)
class Conv(_Images):
    """out (N, K, P, Q) = cross-correlation of x (N, C, H, W) with weight (K, C / groups, R, S).

    The same value describes all three directions.  Pairs are (vertical, horizontal), in pixels.  With ``layout="NHWC"``
    images are (N, H, W, C) and the weight is (R, S, C / groups, K).
    """

    N: int
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    stride: Pair = (1, 1)
    padding: Padding = NO_PADDING
    dilation: Pair = (1, 1)
    groups: int = 1
    dtype: str = "float32"
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        if self.groups < 1 or self.C % self.groups or self.K % self.groups:
            raise ValueError(f"groups: expected a divisor of C = {self.C} and K = {self.K}, got {self.groups}")
        if self.K < 1:
            raise ValueError("weight: expected at least one output channel, got 0")
        _check_window(self)

    @cached_property
    def P(self) -> int:
        return _extent(self.H, self.R, self.stride[0], self.dilation[0], self.padding[0])

    @cached_property
    def Q(self) -> int:
        return _extent(self.W, self.S, self.stride[1], self.dilation[1], self.padding[1])

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        if self.layout == "NCHW":
            return self.K, self.C // self.groups, self.R, self.S
        return self.R, self.S, self.C // self.groups, self.K

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return self.image_shape(self.K, self.P, self.Q)

    @property
    def depth(self) -> int:
        """Terms in one sum of the forward direction."""
        return self.C // self.groups * self.R * self.S

    @property
    def flops(self) -> int:
        """Of any direction: each multiplies every weight with every window once."""
        return 2 * self.N * self.K * self.P * self.Q * self.depth

    @property
    def bytes(self) -> int:
        """Read once and written once: input, weight, output."""
        return np.dtype(self.dtype).itemsize * (prod(self.x_shape) + prod(self.weight_shape) + prod(self.out_shape))

    @property
    def image_bytes(self) -> int:
        """Of the input and the output: what a change of layout has to move."""
        return np.dtype(self.dtype).itemsize * (prod(self.x_shape) + prod(self.out_shape))

    @property
    def weight_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * prod(self.weight_shape)

    @property
    def pointwise(self) -> bool:
        """Whether it is a matrix product over the pixels: 1x1, no stride, no padding."""
        return (self.R, self.S, self.stride, self.padding) == (1, 1, (1, 1), NO_PADDING)

    def with_layout(self, layout: str) -> Conv:
        return self if layout == self.layout else replace(self, layout=layout)


@dataclass(frozen=True)
class Pool(_Images):
    """out (N, C, P, Q): each the maximum or the mean of a window of x (N, C, H, W).

    Pairs are (vertical, horizontal), in pixels.  ``mode`` is "max" or "average".  The padding of a maximum is -infinity.
    A mean divides by ``divisor`` if that is given, else by the window's area: with its padding if ``count_padding``, never
    with what a last window of ``ceil`` mode has beyond the padded image.

    ``adaptive`` is (P, Q): window p of P along H pixels is then range(p * H // P, ceil((p + 1) * H / P)), R and S are the
    largest there are, and there is no stride, padding or dilation.
    """

    mode: str
    N: int
    C: int
    H: int
    W: int
    R: int
    S: int
    stride: Pair = (1, 1)
    padding: Padding = NO_PADDING
    dilation: Pair = (1, 1)
    ceil: bool = False
    count_padding: bool = True
    divisor: int | None = None
    dtype: str = "float32"
    layout: str = "NCHW"
    adaptive: Pair | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("max", "average"):
            raise ValueError(f'mode: expected "max" or "average", got {self.mode!r}')
        _check_window(self)
        for kernel, dilation, pair in zip((self.R, self.S), self.dilation, self.padding, strict=True):
            reach = dilation * (kernel - 1) + 1
            if max(pair) > reach // 2:
                raise ValueError(f"padding: expected at most half of the window of {reach} pixels, got {self.padding}")
        if self.divisor is not None and self.divisor == 0:
            raise ValueError("divisor_override: expected a number other than 0")

    @cached_property
    def P(self) -> int:
        if self.adaptive:
            return self.adaptive[0]
        return _extent(self.H, self.R, self.stride[0], self.dilation[0], self.padding[0], self.ceil)

    @cached_property
    def Q(self) -> int:
        if self.adaptive:
            return self.adaptive[1]
        return _extent(self.W, self.S, self.stride[1], self.dilation[1], self.padding[1], self.ceil)

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return self.image_shape(self.C, self.P, self.Q)

    @property
    def flops(self) -> int:
        return prod(self.out_shape) * self.R * self.S

    @property
    def bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * (prod(self.x_shape) + prod(self.out_shape))

    def with_layout(self, layout: str) -> Pool:
        return self if layout == self.layout else replace(self, layout=layout)


def adaptive_windows(length: int, outputs: int) -> list[range]:
    """The windows along one axis of an adaptive pooling: as even as can be, together all pixels."""
    return [range(p * length // outputs, -(-(p + 1) * length // outputs)) for p in range(outputs)]

"""A convolution and the max pooling that follows it, as one problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from .windows import Conv

WINDOW = 2
"""Pixels of the pooling's window on each side, and from one window to the next."""


@dataclass(frozen=True)
class ConvPool:
    """out (N, K, P, Q) = the maximum of each 2x2 window, 2 apart, of relu(conv + bias); P and Q are halves, rounded down.

    Shapes are in the convolution's layout.  An odd last row or column of the convolution is in no window.
    """

    conv: Conv

    def __post_init__(self) -> None:
        if min(self.conv.P, self.conv.Q) < WINDOW:
            raise ValueError(f"kernel_size: a window of {WINDOW} pixels does not fit into {self.conv.P, self.conv.Q}")

    @property
    def N(self) -> int:
        return self.conv.N

    @property
    def K(self) -> int:
        return self.conv.K

    @property
    def P(self) -> int:
        return self.conv.P // WINDOW

    @property
    def Q(self) -> int:
        return self.conv.Q // WINDOW

    @property
    def layout(self) -> str:
        return self.conv.layout

    @property
    def dtype(self) -> str:
        return self.conv.dtype

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        return self.conv.x_shape

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.conv.weight_shape

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        """Of the pooled output and of its positions."""
        return self.conv.image_shape(self.K, self.P, self.Q)

    @property
    def flops(self) -> int:
        return self.conv.flops

    @property
    def bytes(self) -> int:
        """Read once and written once: input, weight, pooled output."""
        return np.dtype(self.dtype).itemsize * (prod(self.x_shape) + prod(self.weight_shape) + prod(self.out_shape))

    def with_layout(self, layout: str) -> ConvPool:
        return replace(self, conv=self.conv.with_layout(layout))

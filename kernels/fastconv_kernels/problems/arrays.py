"""Problems on arrays without windows: products, functions of elements and rows, updates, changes of layout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

FLOATS = ("float32", "float64")


def check_dtype(dtype: str) -> None:
    """What every problem must satisfy."""
    if dtype not in FLOATS:
        raise ValueError(f"dtype: expected one of {', '.join(FLOATS)}, got {dtype}")


def _check_sizes(dtype: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 0:
            raise ValueError(f"{name}: expected at least 0, got {size}")
    check_dtype(dtype)


@dataclass(frozen=True)
class Matmul:
    """C (…, M, N) = A (…, M, K) @ B (…, K, N): of one pair of matrices, or of two stacks that are broadcast."""

    M: int
    N: int
    K: int
    dtype: str = "float32"
    a_stack: tuple[int, ...] = ()
    b_stack: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min(self.M, self.N, self.K, *self.a_stack, *self.b_stack) < 0:
            raise ValueError(f"a, b: expected sizes of at least 0, got {self}")
        check_dtype(self.dtype)
        try:
            np.broadcast_shapes(self.a_stack, self.b_stack)
        except ValueError:
            shapes = f"{self.a_shape} and {self.b_shape}"
            raise ValueError(f"b: expected leading axes that broadcast with those of a, got shapes {shapes}") from None

    @property
    def stack(self) -> tuple[int, ...]:
        """The leading axes of the result."""
        return np.broadcast_shapes(self.a_stack, self.b_stack)

    @property
    def a_shape(self) -> tuple[int, ...]:
        return *self.a_stack, self.M, self.K

    @property
    def b_shape(self) -> tuple[int, ...]:
        return *self.b_stack, self.K, self.N

    @property
    def out_shape(self) -> tuple[int, ...]:
        return *self.stack, self.M, self.N

    @property
    def flops(self) -> int:
        return 2 * prod(self.stack) * self.M * self.N * self.K

    @property
    def bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * sum(map(prod, (self.a_shape, self.b_shape, self.out_shape)))


ELEMENTWISE = ("relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu", "silu")


@dataclass(frozen=True)
class Elementwise:
    """y = function(x) for each of ``size`` elements; ``parameter`` is leaky_relu's slope and elu's alpha."""

    function: str
    size: int
    dtype: str = "float32"
    parameter: float = 0.0

    def __post_init__(self) -> None:
        if self.function not in ELEMENTWISE:
            raise ValueError(f"function: expected one of {', '.join(ELEMENTWISE)}, got {self.function!r}")
        _check_sizes(self.dtype, size=self.size)

    @property
    def bytes(self) -> int:
        return 2 * self.size * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Maxout:
    """y (outer, channels, inner) = the largest of each ``pieces`` neighbours in x (outer, channels * pieces, inner)."""

    outer: int
    channels: int
    inner: int
    pieces: int
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _check_sizes(self.dtype, outer=self.outer, channels=self.channels, inner=self.inner, pieces=self.pieces - 1)

    @property
    def x_shape(self) -> tuple[int, int, int]:
        return self.outer, self.channels * self.pieces, self.inner

    @property
    def out_shape(self) -> tuple[int, int, int]:
        return self.outer, self.channels, self.inner

    @property
    def bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * (prod(self.x_shape) + prod(self.out_shape))


@dataclass(frozen=True)
class Rows:
    """Something of each row, or over all rows, of x (rows, columns): softmax, cross-entropy, the sum for each channel."""

    rows: int
    columns: int
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _check_sizes(self.dtype, rows=self.rows, columns=self.columns - 1)

    @property
    def bytes(self) -> int:
        return self.rows * self.columns * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Dropout:
    """y = 0 with probability ``rate``, else x / (1 - rate), for each of ``size`` elements."""

    size: int
    rate: float
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"rate: expected a number in [0, 1), got {self.rate}")
        _check_sizes(self.dtype, size=self.size)

    @property
    def threshold(self) -> int:
        """The least of 2**32 equally likely numbers for which an element is kept."""
        return min(round(self.rate * 2**32), 2**32 - 1)

    @property
    def factor(self) -> float:
        """Of what is kept."""
        return 1 / (1 - self.rate)

    @property
    def bytes(self) -> int:
        return 2 * self.size * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Update:
    """One step of an optimizer on ``size`` parameters in one flat array."""

    size: int
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _check_sizes(self.dtype, size=self.size)


@dataclass(frozen=True)
class Transposition:
    """Images (N, C, pixels) from or to (N, pixels, C)."""

    images: int
    channels: int
    pixels: int
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _check_sizes(self.dtype, images=self.images, channels=self.channels, pixels=self.pixels)

    @property
    def bytes(self) -> int:
        return 2 * self.images * self.channels * self.pixels * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Gather:
    """Some images of a data set of ``source`` (N, C, pixels) as (images, pixels, C) of ``dtype``, times ``scale``."""

    images: int
    channels: int
    pixels: int
    source: str
    dtype: str = "float32"
    scale: float = 1.0

    def __post_init__(self) -> None:
        _check_sizes(self.dtype, images=self.images, channels=self.channels, pixels=self.pixels)

    @property
    def bytes(self) -> int:
        size = self.images * self.channels * self.pixels
        return size * (np.dtype(self.source).itemsize + np.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class BatchNorm:
    """y = (x - mean) / sqrt(variance + epsilon) * weight + bias for each channel of x (N, C, pixels), or (N, pixels, C)."""

    images: int
    channels: int
    pixels: int
    dtype: str = "float32"
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        _check_sizes(self.dtype, images=self.images, channels=self.channels - 1, pixels=self.pixels)
        if self.layout not in ("NCHW", "NHWC"):
            raise ValueError(f"layout: expected one of NCHW, NHWC, got {self.layout!r}")

    @property
    def count(self) -> int:
        """Elements of a channel."""
        return self.images * self.pixels

    @property
    def size(self) -> int:
        return self.count * self.channels

    @property
    def x_shape(self) -> tuple[int, int, int]:
        inner = (self.channels, self.pixels) if self.layout == "NCHW" else (self.pixels, self.channels)
        return self.images, *inner

    @property
    def bytes(self) -> int:
        return 2 * self.size * np.dtype(self.dtype).itemsize

    def with_layout(self, layout: str) -> BatchNorm:
        return self if layout == self.layout else replace(self, layout=layout)

"""The arrays of a case: noise, the same in every process, in either layout."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from fastconv.bench.cases import Case

Array = np.ndarray[Any, np.dtype[Any]]

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
TO_KCRS = (3, 2, 0, 1)


CACHE_LINE = 64


def empty(shape: tuple[int, ...], dtype: Any = "float32") -> Array:
    """An array that begins on a cache line, as PyTorch's and the networks' do and NumPy's do not."""
    size, item = prod(shape), np.dtype(dtype).itemsize
    memory = np.empty(size * item + CACHE_LINE, np.uint8)
    skip = -memory.ctypes.data % CACHE_LINE
    array: Array = memory[skip : skip + size * item].view(dtype).reshape(shape)
    return array


SUBNORMAL = 7
"""One number in so many is, where some are."""


def noise(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0, subnormal: bool = False) -> Array:
    """Standard normal numbers, some of them ``subnormal``."""
    array = empty(shape, dtype)
    np.random.default_rng(seed).standard_normal(dtype=dtype, out=array)  # type: ignore[call-overload]
    if subnormal:
        array.reshape(-1)[::SUBNORMAL] *= np.finfo(dtype).smallest_normal / 16
    return array


class Operands:
    """What a case is computed from, made when first asked for and then kept.  Nobody writes into it.

    Of images and weights some are ``subnormal`` numbers, if asked.
    """

    def __init__(self, case: Case, subnormal: bool = False) -> None:
        self._case, self._subnormal = case, subnormal
        self._kept: dict[Any, Any] = {}

    def kept(self, name: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` gave when ``name`` was first asked for."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def matrix(self, name: str) -> Array:
        """A (M, K) or B (K, N)."""
        problem = self._case.problem
        shape = {"a": (problem.M, problem.K), "b": (problem.K, problem.N)}[name]
        return self.kept(name, lambda: noise(shape, problem.dtype, ord(name)))  # type: ignore[no-any-return]

    def images(self, name: str, layout: str) -> Array:
        """x or grad."""
        problem = self._case.problem
        shape = {"x": problem.x_shape, "grad": problem.out_shape}[name]
        return self._laid_out(name, shape, layout, TO_NCHW)

    def weight(self, layout: str) -> Array:
        return self._laid_out("weight", self._case.problem.weight_shape, layout, TO_KCRS)

    def _laid_out(self, name: str, shape: tuple[int, ...], layout: str, axes: tuple[int, ...]) -> Array:
        """Noise of ``shape``, channels last, with its axes permuted for NCHW."""

        def make() -> Array:
            array = noise(shape, self._case.problem.dtype, len(name), self._subnormal)
            if layout == "NHWC":
                return array
            turned = array.transpose(axes)
            out = empty(turned.shape, array.dtype)
            np.copyto(out, turned)
            return out

        return self.kept((name, layout), make)  # type: ignore[no-any-return]

    def samples(self) -> tuple[Array, Array]:
        """Images (N, C, H, W) for every step of a training, and their labels."""
        problem = self._case.problem
        images = self.kept("images", lambda: noise((problem.steps * problem.N, *problem.shape)))
        return images, self.kept("labels", lambda: np.random.default_rng(0).integers(0, problem.classes, len(images)))

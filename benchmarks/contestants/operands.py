"""The arrays of a case: noise, the same in every process, in either layout."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from benchmarks.cases import Case

Array = np.ndarray[Any, np.dtype[Any]]

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
TO_KCRS = (3, 2, 0, 1)


def noise(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> Array:
    """Standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=dtype)  # type: ignore[call-overload,no-any-return]


class Operands:
    """What a case is computed from.  The arrays are shared by all who ask: nobody writes into them."""

    def __init__(self, case: Case) -> None:
        problem = case.problem
        if case.operator == "matmul":
            shapes = {"a": (problem.M, problem.K), "b": (problem.K, problem.N)}
        else:
            shapes = {"x": problem.x_shape, "grad": problem.out_shape}
            shapes |= {"weight": problem.weight_shape} if case.operator == "conv" else {}
        self._arrays = {name: noise(shape, problem.dtype, seed) for seed, (name, shape) in enumerate(shapes.items())}
        self.images, self.weight = cache(self._images), cache(self._weight)

    def matrix(self, name: str) -> Array:
        return self._arrays[name]

    def _images(self, name: str, layout: str) -> Array:
        """x or grad."""
        array = self._arrays[name]
        return array if layout == "NHWC" else np.ascontiguousarray(array.transpose(TO_NCHW))

    def _weight(self, layout: str) -> Array:
        array = self._arrays["weight"]
        return array if layout == "NHWC" else np.ascontiguousarray(array.transpose(TO_KCRS))

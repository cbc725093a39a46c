"""Batch normalisation in NumPy: the definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems import BatchNorm

Array = np.ndarray[Any, np.dtype[Any]]


class _Plan:
    workspace_bytes = 0

    def __init__(self, problem: BatchNorm, threads: int) -> None:
        self.problem, self.threads = problem, threads

    def _columns(self, images: Array) -> Array:
        """(all pixels of all images, C) in NHWC, (N, C, pixels) in NCHW."""
        return images.reshape(self.problem.x_shape)

    def _channels(self, values: Array | None, otherwise: float = 1.0) -> Any:
        """A number for each channel, so that it goes with x."""
        if values is None:
            return otherwise
        return values if self.problem.layout == "NHWC" else values[:, None]

    def _sum(self, images: Array) -> Array:
        """Over everything but the channels."""
        return np.asarray(images.sum(axis=(0, 1) if self.problem.layout == "NHWC" else (0, 2)))

    def _normalise(
        self, x: Array, weight: Any, bias: Any, out: Array, mean: Array, inverse: Array, residual: Any, relu: bool
    ) -> None:
        scaled = (self._columns(x) - self._channels(mean)) * (self._channels(weight) * self._channels(inverse))
        y = scaled + self._channels(bias, 0.0)
        y = y if residual is None else y + self._columns(residual)
        self._columns(out)[...] = np.maximum(y, 0) if relu else y


class Forward(_Plan):
    def __call__(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        out: Array,
        mean: Array,
        inverse: Array,
        running_mean: Array | None = None,
        running_var: Array | None = None,
        residual: Array | None = None,
        relu: bool = False,
        *,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
    ) -> Array:
        """Write the normalised ``x`` into ``out``, the statistics into ``mean`` and ``inverse``; move the running ones."""
        if self.problem.size == 0:
            return out
        count = self.problem.count
        mean[...] = self._sum(self._columns(x)) / count
        squares = self._sum((self._columns(x) - self._channels(mean)) ** 2)
        inverse[...] = 1 / np.sqrt(squares / count + epsilon)
        if running_mean is not None and running_var is not None:
            running_mean[...] = (1 - momentum) * running_mean + momentum * mean
            running_var[...] = (1 - momentum) * running_var + momentum * squares / max(1, count - 1)
        self._normalise(x, weight, bias, out, mean, inverse, residual, relu)
        return out


class Inference(_Plan):
    def __call__(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        mean: Array,
        variance: Array,
        out: Array,
        residual: Array | None = None,
        relu: bool = False,
        *,
        epsilon: float = 1e-5,
    ) -> Array:
        """Write ``x``, normalised with the statistics that are given, into ``out``."""
        self._normalise(x, weight, bias, out, mean, 1 / np.sqrt(variance + epsilon), residual, relu)
        return out


class Backward(_Plan):
    def __call__(
        self,
        grad_output: Array,
        x: Array,
        weight: Array | None,
        mean: Array,
        inverse: Array,
        out: Array,
        grad_weight: Array,
        grad_bias: Array,
        y: Array | None = None,
        grad_residual: Array | None = None,
    ) -> Array:
        """Write the gradients of x, weight, bias and residual; ``y`` is what forward wrote, where relu was part of it."""
        given = self._columns(grad_output)
        given = given if y is None else np.where(self._columns(y) <= 0, 0, given)
        standard = (self._columns(x) - self._channels(mean)) * self._channels(inverse)
        grad_bias[...], grad_weight[...] = self._sum(given), self._sum(given * standard)
        if grad_residual is not None:
            self._columns(grad_residual)[...] = given
        means = (self._channels(total / max(1, self.problem.count)) for total in (grad_bias, grad_weight))
        offset, slope = means
        self._columns(out)[...] = self._channels(weight) * self._channels(inverse) * (given - offset - standard * slope)
        return out

"""Batch normalisation on the CPU: the plans, and how memory is divided.

Forwards two passes over x: statistics by parts, then y with the residual and relu.  Backwards two passes over the gradient,
x and, after relu, y: the sums for each channel, then dx.  A *stretch* of memory is what one task reads: in NHWC some pixels
with all their channels, in NCHW a plane.  How many there are depends on the problem alone, and what they sum is added in
their order: the bits are the same for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cpu.past import goes_past
from ..cpu.share import threads_for
from ..cpu.workspace import aligned, workspace
from ..problems import BatchNorm
from . import passes_cpu
from .column_sums import width as columns_of

Array = np.ndarray[Any, np.dtype[Any]]

PART = 1 << 14
"""Elements: fewer are summed sooner than a second thread starts."""

PARTS = 64
"""At most so many stretches of NHWC: work for any number of threads, and few to be merged."""


class _Plan:
    """How memory is divided, and what the passes have for scratch."""

    def __init__(self, problem: BatchNorm, threads: int) -> None:
        self.problem = problem
        C, size = problem.channels, problem.size
        if problem.layout == "NHWC" or problem.pixels == 1:
            channels, siblings = C, 1
            unit = width = columns_of(C, size)
            count = max(1, min(PARTS, size // PART, size // unit))
        else:
            channels, siblings, unit, count = 1, C, problem.pixels, problem.images * C
            width = columns_of(1, unit)
        self.stretches = size, unit, count, width, channels, siblings
        self.threads = threads_for(threads, size, PART)
        self.partial = workspace(max(1, count // siblings), 2 * C, problem.dtype)
        self.scratch = workspace(self.threads, 6 * width, problem.dtype)
        self.past = goes_past(2, size, problem.dtype)
        self.means = self.scratch, self.past, self.threads
        self.ones, self.zeros = (aligned(C, problem.dtype) for _ in range(2))
        self.ones.fill(1)
        self.scale, self.kind = aligned(C, problem.dtype), np.dtype(problem.dtype).type
        self.workspace_bytes = self.partial.nbytes + self.scratch.nbytes + 3 * self.scale.nbytes

    def _affine(self, weight: Array | None, bias: Array | None) -> tuple[Array, Array]:
        return self.ones if weight is None else weight, self.zeros if bias is None else bias


class Forward(_Plan):
    """``plan(x, weight, bias, out, mean, inverse, running_mean=None, running_var=None, residual=None, relu=False)``"""

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
        weight, bias = self._affine(weight, bias)
        passes_cpu.statistics_by_parts(x.reshape(-1), self.partial, self.stretches, *self.means)
        passes_cpu.settle(self.partial, self.stretches, weight, mean, inverse, self.scale, self.kind(epsilon))
        if running_mean is not None and running_var is not None:
            passes_cpu.track(running_mean, running_var, mean, self.partial, self.problem.count, self.kind(momentum))
        self._normalise(x, residual, out, mean, bias, relu)
        return out

    def _normalise(self, x: Array, residual: Array | None, out: Array, mean: Array, bias: Array, relu: bool) -> None:
        addend, tables = x if residual is None else residual, (mean, self.scale, bias)
        flat = x.reshape(-1), addend.reshape(-1), out.reshape(-1)
        passes_cpu.normalise(*flat, tables, residual is not None, relu, self.stretches, *self.means)


class Inference(Forward):
    """``plan(x, weight, bias, mean, variance, out, residual=None, relu=False)``"""

    def __call__(  # type: ignore[override]
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
        if self.problem.size:
            weight, bias = self._affine(weight, bias)
            passes_cpu.scale_of(variance, weight, self.scale, self.kind(epsilon))
            self._normalise(x, residual, out, mean, bias, relu)
        return out


class Backward(_Plan):
    """``plan(grad_output, x, weight, mean, inverse, out, grad_weight, grad_bias, y=None, grad_residual=None)``"""

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
        if self.problem.size == 0:
            grad_weight.fill(0)
            grad_bias.fill(0)
            return out
        weight, _ = self._affine(weight, None)
        flat = grad_output.reshape(-1), x.reshape(-1), (x if y is None else y).reshape(-1)
        rectified = y is not None
        passes_cpu.moments_by_parts(
            *flat, rectified, mean, self.partial, self.stretches, self.scratch, self.past, self.threads
        )
        passes_cpu.settle_gradients(self.partial, self.problem.count, weight, inverse, self.scale, grad_weight, grad_bias)
        passed = out if grad_residual is None else grad_residual
        passes_cpu.gradient(
            *flat,
            rectified,
            (mean, self.scale),
            self.partial,
            (out.reshape(-1), passed.reshape(-1)),
            grad_residual is not None,
            self.stretches,
            *self.means,
        )
        return out

"""Implicit matrix product of many channels under a dilated window: some channels of the source after others.

Where taps that lie in the padding are left out, pixels of a whole image meet a panel of the weights of all channels, which
has to stay in the second cache.  Of many channels it does not: then a plan for some of them, which are copied next to each
other, runs again and again, and adds to its results.
"""

from dataclasses import replace

import numpy as np

from ..cpu.workspace import caches, workspace
from . import implicit_gemm_cpu
from .geometry import forward_axes, transposed_axes
from .inside import inside

PANEL_COLUMNS = 64
"""Of the widest tile."""


def chunks_of(problem, channels, axes):
    """How many equal chunks of the source's ``channels`` are summed one after another.

    On a Granite Rapids 28x28 pixels with 2048 and 256 channels, dilated by 12, took 39 ms as a whole, 23 to 25 in 4 to 64
    chunks; 33x33 with 1024 channels 19.7 and 18.5, with 512 8.6 and, in 4 chunks, 9.3.
    """
    panel_bytes = problem.R * problem.S * PANEL_COLUMNS * np.dtype(problem.dtype).itemsize
    if channels * panel_bytes <= caches().level2 or not inside(problem, *axes):
        return 1
    chunks = 1
    while channels % (2 * chunks) == 0 and channels // chunks * panel_bytes > caches().level2 // 2:
        chunks *= 2
    return chunks


class _InChunks:
    """What the plans of both directions share.  One call at a time.

    plan: of one chunk of the channels; shape: of the images that are read; axes: of their channels, and of those of the weight
    """

    def __init__(self, problem, plan, shape, axes, chunks):
        self.problem, self.plan, self.axes, self.chunks = problem, plan, axes, chunks
        shape = list(shape)
        shape[axes[0]] //= chunks
        room = workspace(1, int(np.prod(shape)), problem.dtype)
        self.source = room[0, : int(np.prod(shape))].reshape(shape)
        self.tile, self.threads, self.workspace_bytes = plan.tile, plan.threads, plan.workspace_bytes + room.nbytes

    def _part(self, array, axis, chunk):
        """The channels of a chunk."""
        length = array.shape[axis] // self.chunks
        return array[(slice(None),) * axis + (slice(chunk * length, (chunk + 1) * length),)]

    def pack(self, weight, packed=None):
        """The weight, of any strides, as calls take it: chunks of it packed, or itself where each call packs what it meets."""
        if self.plan.together:
            return weight
        parts = [self._part(weight, self.axes[1], chunk) for chunk in range(self.chunks)]
        if packed is None:
            first = self.plan.pack(parts[0])
            packed = np.empty((self.chunks, len(first)), first.dtype)
        for part, place in zip(parts, packed, strict=True):
            self.plan.pack(part, place)
        return packed

    def _weights(self, packed):
        """What the chunks' plan takes, one after another."""
        if not self.plan.together:
            return [self.plan.weights(part) for part in packed]
        line, strides = self.plan.weights(packed)
        return [(line[chunk * self.plan.depth * strides[2] :], strides) for chunk in range(self.chunks)]

    def run(self, x, packed, bias, residual, activation, out):
        """The convolution, or its transpose, with a bias, an addend and an activation, if any."""
        for chunk, weights in enumerate(self._weights(packed)):
            self.source[...] = self._part(x, self.axes[0], chunk)
            last = activation if chunk + 1 == self.chunks else None
            self.plan.run(self.source, weights, bias, residual, last, out)
            bias, residual = None, out
        return out


class Forward(_InChunks):
    """A plan for the convolution."""

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``; as ``implicit_gemm_cpu.Forward``."""
        return self.run(x, packed, bias, residual, activation, out)


class BackwardInput(_InChunks):
    """A plan for the gradient with respect to the input."""

    def __call__(self, grad_output, packed, out):
        """Write the gradient of the input for that of the output into ``out``; both C-contiguous, in the problem's layout."""
        return self.run(grad_output, packed, None, None, None, out)


def forward(problem, threads=1, tile=None, *, prepared=False, most_bytes=None):
    """A plan for the convolution, in chunks if that is better."""
    plan, chunks = implicit_gemm_cpu.Forward, chunks_of(problem, problem.C, forward_axes(problem))
    if chunks == 1:
        return plan(problem, threads, tile, prepared=prepared, most_bytes=most_bytes)
    inner = plan(replace(problem, C=problem.C // chunks), threads, tile, prepared=prepared, most_bytes=most_bytes)
    return Forward(problem, inner, problem.x_shape, (1, 1) if problem.layout == "NCHW" else (3, 2), chunks)


def backward_input(problem, threads=1, tile=None, *, prepared=False, most_bytes=None):
    """A plan for the gradient with respect to the input, in chunks if that is better."""
    plan, chunks = implicit_gemm_cpu.BackwardInput, chunks_of(problem, problem.K, transposed_axes(problem))
    if chunks == 1:
        return plan(problem, threads, tile, prepared=prepared, most_bytes=most_bytes)
    inner = plan(replace(problem, K=problem.K // chunks), threads, tile, prepared=prepared, most_bytes=most_bytes)
    return BackwardInput(problem, inner, problem.out_shape, (1, 0) if problem.layout == "NCHW" else (3, 3), chunks)

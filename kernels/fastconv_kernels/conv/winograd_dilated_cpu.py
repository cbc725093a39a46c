"""Winograd's convolution where the window is dilated: each phase of the pixels is an image of its own.

A window whose taps are d pixels apart meets the pixels of one *phase*, those whose row is a and whose column is b modulo d,
and its outputs are of the same phase: d² images of a d-th of the rows and columns, with a window that is not dilated,

    out[n, a + d i, b + d j] = sum over taps, c of x[n, a + d (i + r) - p, b + d (j + s) - p, c] * weight[r, s, c]

if d divides the padding p.  Phases are copied apart and results together again.  A phase that lacks the last row or column has
zeros there, as if they were in the padding.  In the gradient of the weight an infinity times the zeros of outputs that do not
exist would be NaN: where a sum is not finite, a plan of another algorithm forms them all.

Measured on a Granite Rapids against implicit matrix products, 3x3: 28x28 with 512 channels, dilated by 2 and by 4, took 0.5 to
0.6 times as long, the gradient of the weight 0.33 to 0.38; 64x64 with 64 channels 0.5 to 0.55, with 32 channels 0.8.

Sources: Holschneider et al., "A real-time algorithm for signal analysis with the help of the wavelet transform", 1989, for the
phases; Yu & Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", 2016, for the use.
"""

from functools import partial

import numpy as np

from ..cpu.workspace import workspace
from .dilated import as_images, sizes_of


def refuses(problem, undilated):
    """Why it cannot compute ``problem``.

    undilated: a function of the reasons why phases cannot be computed
    """
    (top, _), (left, _) = problem.padding
    down, across = problem.dilation
    if (down, across) == (1, 1):
        return ("the window is not dilated",)
    if problem.stride != (1, 1):
        return ("it takes no stride",)
    if down > problem.H or across > problem.W:
        return ("the dilation is larger than the image",)
    if top % down or left % across:
        return ("the dilation must divide the padding above and on the left",)
    return undilated(as_images(problem))


class _Phases:
    """What the plans of all directions share, for images in NHWC.  One call at a time.

    inner: the plan of windows that are not dilated, told what ``told`` says
    """

    def __init__(self, problem, threads, inner, most_bytes=None, **told):
        self.problem, phases = problem, as_images(problem)
        shapes = phases.x_shape, phases.out_shape
        self.buffers = [workspace(1, int(np.prod(shape)), problem.dtype) for shape in shapes]
        own = sum(buffer.nbytes for buffer in self.buffers)
        self.inputs, self.outputs = (
            buffer[0, : int(np.prod(shape))].reshape(shape) for buffer, shape in zip(self.buffers, shapes, strict=True)
        )
        if most_bytes is not None:
            told["most_bytes"] = most_bytes - own
        self.plan = inner(phases, threads, **told)
        self.tile, self.threads, self.workspace_bytes = self.plan.tile, self.plan.threads, self.plan.workspace_bytes + own

    def _pairs(self, images, phases):
        """(pixels of a phase in ``images``, the same in ``phases``)."""
        down, across = self.problem.dilation
        apart = phases.reshape(self.problem.N, down, across, *phases.shape[1:])
        for a in range(down):
            for b in range(across):
                pixels = images[:, a::down, b::across]
                yield pixels, apart[:, a, b, : pixels.shape[1], : pixels.shape[2]]

    def _part(self, images, phases):
        """Copy ``images`` into ``phases``, which are returned."""
        for pixels, phase in self._pairs(images, phases):
            phase[...] = pixels
        return phases

    def _join(self, phases, images):
        """Copy ``phases`` into ``images``, which are returned."""
        for pixels, phase in self._pairs(images, phases):
            pixels[...] = phase
        return images


class _Filtered(_Phases):
    """The same of both directions that take weights."""

    def __init__(self, problem, threads=1, *, inner, prepared=False, most_bytes=None):
        super().__init__(problem, threads, inner, most_bytes, prepared=prepared)
        self.pack = self.plan.pack


class Forward(_Filtered):
    """A plan for the convolution of images of one shape."""

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``.

        Parameters
        ----------
        x : (N, H, W, C), C-contiguous
        packed : what ``pack`` returned
        out, residual : (N, P, Q, K), C-contiguous
        bias : (K,)
        activation : None or "relu"
        """
        self.plan(self._part(x, self.inputs), packed, self.outputs, bias, None, None if residual is not None else activation)
        self._join(self.outputs, out)
        if residual is not None:
            np.add(out, residual, out=out)
            if activation == "relu":
                np.maximum(out, 0, out=out)
        return out


class BackwardInput(_Filtered):
    """A plan for the gradient with respect to the input."""

    def __call__(self, grad_output, packed, out):
        """Write the gradient (N, H, W, C) of the input for that of the output, (N, P, Q, K), into ``out``."""
        self.plan(self._part(grad_output, self.outputs), packed, self.inputs)
        return self._join(self.inputs, out)


class BackwardWeight(_Phases):
    """A plan for the gradient with respect to the weight.

    plain: a plan that only sums, of dilated windows
    """

    def __init__(self, problem, threads=1, *, inner, plain):
        super().__init__(problem, threads, inner)
        self.plain = partial(plain, problem, threads)
        self.lacks = any(size % gap for sizes in sizes_of(problem) for size, gap in zip(sizes, problem.dilation, strict=True))

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, R, C, K) into ``out``, for grad_output (N, P, Q, K) and x (N, H, W, C)."""
        self.plan(self._part(grad_output, self.outputs), self._part(x, self.inputs), out)
        if self.lacks:
            with np.errstate(all="ignore"):
                finite = np.isfinite(out.sum())
            if not finite:
                self.plain()(grad_output, x, out)
        return out

"""Maxout on the GPU: a thread for each result, or for each place of all pieces, in a grid-stride loop.

thread t of T      results t, t + T, …: neighbours in memory, of every piece
forward          the largest of its pieces, as ``functions.larger`` has it
backward         the first piece that is the largest gets the gradient, the others zeros
"""

from functools import cache

from numba import cuda, float32, int32, types

from ..cuda.arrays import view
from ..cuda.build import device, kernel
from ..cuda.grid import THREADS, blocks_for
from ..cuda.integers import divide
from ..cuda.launch import start
from ..cuda.memory import at
from . import functions

FLOATS = types.CPointer(float32)
larger = device(functions.larger)


@cache
def forward():
    """The kernel (x, out): out (channels, inner) from x (channels, pieces, inner); ``size`` is out's."""

    @kernel(types.void(FLOATS, FLOATS, int32, int32, int32), threads=THREADS)
    def run(x, out, size, inner, pieces):
        quotient = cuda.local.array(1, int32)
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            divide(at(quotient, 0), i, inner)
            first = quotient[0] * (pieces - 1) * inner + i
            best = x[first]
            for piece in range(1, pieces):
                best = larger(best, x[first + piece * inner])
            out[i] = best

    return run


@cache
def backward():
    """The kernel (gradient, x, out): out (channels, pieces, inner); ``size`` is the gradient's."""

    @kernel(types.void(FLOATS, FLOATS, FLOATS, int32, int32, int32), threads=THREADS)
    def run(gradient, x, out, size, inner, pieces):
        quotient = cuda.local.array(1, int32)
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            divide(at(quotient, 0), i, inner)
            first = quotient[0] * (pieces - 1) * inner + i
            best, winner = x[first], 0
            for piece in range(1, pieces):
                value = x[first + piece * inner]
                if best == best and (value > best or value != value):  # the first of equals, the first NaN
                    best, winner = value, piece
            for piece in range(pieces):
                out[first + piece * inner] = gradient[i] if piece == winner else float32(0)

    return run


class _Maxout:
    workspace_bytes = 0

    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads
        self.sizes = problem.outer * problem.channels * problem.inner, problem.inner, problem.pieces

    def start(self, run, arrays):
        if self.sizes[0]:
            start(run, blocks_for(self.sizes[0]), [view(array) for array in arrays], self.sizes)


class MaxoutForward(_Maxout):
    """``plan(x, out)``"""

    def __call__(self, x, out):
        """Write the largest of each channel's pieces into ``out``."""
        self.start(forward(), (x, out))
        return out


class MaxoutBackwardInput(_Maxout):
    """``plan(grad_output, x, out)``"""

    def __call__(self, grad_output, x, out):
        """Write each gradient to the piece that was the first largest (NaN is larger than all), zeros to the others."""
        self.start(backward(), (grad_output, x, out))
        return out

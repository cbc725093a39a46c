"""Changing layouts on the GPU: squares of 32 x 32 transposed in shared memory, so that memory is read and written by lines.

    block       squares of an image, one after the other: a grid-stride loop over squares
      reads     eight rows of 32 words at a time, as they lie in x                     a line of memory each
      meets     what others have read is there
      writes    eight rows of 32 words, as they lie in out: a column of the square     a line of memory each
      meets     the square may be filled again

A row of the square is 33 words long: the 32 words of a column then lie in 32 different banks.

Source: Harris, "An Efficient Matrix Transpose in CUDA C/C++", NVIDIA, 2013.
"""

from functools import cache
from typing import NamedTuple

from numba import cuda, float32, int32, types

from ..cuda.arrays import view
from ..cuda.build import kernel, numbers
from ..cuda.grid import MOST_BLOCKS
from ..cuda.integers import divide
from ..cuda.launch import start
from ..cuda.memory import at, meet_block

FLOATS = types.CPointer(float32)
SIDE, LINES = 32, 8
THREADS, PITCH = SIDE * LINES, SIDE + 1
SQUARE = SIDE * PITCH


class Squares(NamedTuple):
    """The geometry: images of ``rows`` x ``columns``; squares ``across`` an image, of an image, and of all."""

    rows: int
    columns: int
    across: int
    squares: int
    all: int


@cache
def transpose():
    """The kernel (x, out)."""

    @kernel(types.void(FLOATS, FLOATS, numbers(Squares)), threads=THREADS, blocks=4)
    def run(x, out, g):
        square, quotient = cuda.shared.array(SQUARE, float32), cuda.local.array(1, int32)
        lane, line = cuda.threadIdx.x % SIDE, cuda.threadIdx.x // SIDE
        for number in range(cuda.blockIdx.x, g.all, cuda.gridDim.x):
            divide(at(quotient, 0), number, g.squares)
            image, within = quotient[0] * g.rows * g.columns, number - quotient[0] * g.squares
            divide(at(quotient, 0), within, g.across)
            top, left = quotient[0] * SIDE, (within - quotient[0] * g.across) * SIDE
            for i in range(line, min(SIDE, g.rows - top), LINES):
                if left + lane < g.columns:
                    square[i * PITCH + lane] = x[image + (top + i) * g.columns + left + lane]
            meet_block()
            for j in range(line, min(SIDE, g.columns - left), LINES):
                if top + lane < g.rows:
                    out[image + (left + j) * g.rows + top + lane] = square[lane * PITCH + j]
            meet_block()

    return run


class Swap:
    """``plan(x, out)``: out (N, b, a) from x (N, a, b)."""

    workspace_bytes = 0

    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads

    def __call__(self, x, out):
        """Write ``x`` with its last two axes swapped into ``out``."""
        source = view(x)
        images, rows, columns = source.shape
        if source.size:
            across, down = -(-columns // SIDE), -(-rows // SIDE)
            squares = Squares(rows, columns, across, across * down, images * across * down)
            start(transpose(), min(squares.all, MOST_BLOCKS), (source, view(out)), (squares,))
        return out

"""An operand of a product brought into the form that warpgroups multiply: rows along K, rounded to TF32, BF16 or FP16.

    block      squares of 32 x 32, one after the other: a grid-stride loop
      reads    eight rows of 32 words at a time, as they lie in the operand, which may run along K or across it
      meets    what others have read is there
      writes   eight rows of 32 elements along K, rounded
      meets    the square may be filled again

The tensor cores of Hopper read TF32 only along K, and would cut what they are not given rounded; BF16 and FP16 halve what the
product itself has to read.  A row of the square is 33 words long, so that its columns lie in different banks.

Source: Harris, "An Efficient Matrix Transpose in CUDA C/C++", NVIDIA, 2013.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import cuda, int32, types, uint16, uint32

from .arrays import View
from .build import device, kernel, numbers
from .grid import MOST_BLOCKS
from .integers import divide
from .launch import rehearsed, start
from .matrices import pack_bf16, pack_f16, round_to_tf32
from .memory import at, meet_block
from .operands import operand
from .tensor_map import WORDS, TensorMap
from .workspace import Workspace

SIDE, LINES = 32, 8
THREADS, PITCH = SIDE * LINES, SIDE + 1
SQUARE = SIDE * PITCH
ITEMSIZES = {"tf32": 4, "bf16": 2, "fp16": 2}
PACKERS = {"bf16": pack_bf16, "fp16": pack_f16}
STORED = {4: types.CPointer(uint32), 2: types.CPointer(uint16)}


class Squares(NamedTuple):
    """The geometry: an operand of ``rows`` along ``depth``; the distances of lines as they are and as they are written."""

    rows: int
    depth: int
    pitch: int
    written_pitch: int
    across: int
    all: int


@cache
def rounding(precision):
    """The function that rounds a float32 in its register: its bits as they are stored."""
    pack = PACKERS.get(precision, pack_bf16)

    @device
    def rounded(value):
        if precision == "tf32":
            round_to_tf32(value)
            return value[0]
        else:  # noqa: RET505 - only one of the two is compiled
            pack(value, value, value)
            return value[0] & 0xFFFF

    return rounded


@cache
def pack(precision, order):
    """The kernel (operand, out), both as bits; ``order`` is that of the operand in memory."""
    rounded, out_type = rounding(precision), STORED[ITEMSIZES[precision]]

    @kernel(types.void(types.CPointer(uint32), out_type, numbers(Squares)), threads=THREADS, blocks=4)
    def run(source, out, g):
        square, value = cuda.shared.array(SQUARE, uint32), cuda.local.array(1, uint32)
        quotient = cuda.local.array(1, int32)
        lane, line = cuda.threadIdx.x % SIDE, cuda.threadIdx.x // SIDE
        for number in range(cuda.blockIdx.x, g.all, cuda.gridDim.x):
            divide(at(quotient, 0), number, g.across)
            top, left = quotient[0] * SIDE, (number - quotient[0] * g.across) * SIDE
            rows, depth = min(SIDE, g.rows - top), min(SIDE, g.depth - left)
            if order == "across":
                for i in range(line, depth, LINES):
                    if lane < rows:
                        square[lane * PITCH + i] = source[(left + i) * g.pitch + top + lane]
            else:
                for i in range(line, rows, LINES):
                    if lane < depth:
                        square[i * PITCH + lane] = source[(top + i) * g.pitch + left + lane]
            meet_block()
            for i in range(line, rows, LINES):
                if lane < depth:
                    value[0] = square[i * PITCH + lane]
                    out[(top + i) * g.written_pitch + left + lane] = rounded(at(value, 0))
            meet_block()

    return run


class Packed:
    """Room for an operand of ``rows`` along ``depth``, and its description for copies of ``height`` rows at a time."""

    def __init__(self, rows: int, depth: int, height: int, precision: str) -> None:
        self.rows, self.depth, self.height, self.precision = rows, depth, height, precision
        self.itemsize = ITEMSIZES[precision]
        multiple = 16 // self.itemsize
        self.pitch = -(-depth // multiple) * multiple
        self.memory = Workspace(-(-rows * self.pitch * self.itemsize // 4))
        self.nbytes = self.memory.nbytes
        self._map: TensorMap | None = None

    @property
    def map(self) -> View:
        """The description."""
        if rehearsed.get() is not None:
            return View(0, (WORDS,), (1,), np.dtype("uint64"))
        if self._map is None:
            self._map = TensorMap(self.matrix, self.height)
        return self._map.view

    @property
    def matrix(self) -> View:
        """The operand as it is kept."""
        dtype = np.dtype(f"uint{8 * self.itemsize}")
        return View(self.memory.view.address, (self.rows, self.depth), (self.pitch, 1), dtype)

    def fill(self, matrix: View, k_axis: int) -> None:
        """Round and turn ``matrix``, summed over along ``k_axis``."""
        given, out = operand(matrix, k_axis), self.matrix
        across = -(-self.depth // SIDE)
        squares = across * -(-self.rows // SIDE)
        g = Squares(self.rows, self.depth, given.pitch, self.pitch, across, squares)
        words = matrix._replace(dtype=np.dtype("uint32"))
        start(pack(self.precision, given.order), min(squares, MOST_BLOCKS), (words, out), (g,))

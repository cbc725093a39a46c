"""The gradient of a convolution's weights as a matrix product over all output pixels: NHWC images, HWIO weights.

    dW[(r, s, c), k] = sum over pixels of X[pixel moved by (r, s), c] * dY[pixel, k]

is C = A @ B with a row of A for each (r, s, c), a column of it for each output pixel, and B the gradient of the output as it
lies in memory.  A is never written down: a thread knows, for the rows that it copies, where their tap is, and for each slice
which pixel it is at.  Both operands lie across the sum, as either engine reads them.

    block      a tile of C, K in slices of 16 (float32 arithmetic) or 32 (tensor cores); tile, stages and sums: the engine
      copies   all threads, each the same rows of A in every slice, 16 bytes at a time where channels are a multiple of 4
      sums     in the registers of each warp
      barrier  one for each slice (``cuda.pipeline``)

The sum over N * P * Q pixels is long and C is small, too small to occupy the GPU: the sum is split into ``parts``, a block of
threads for each tile of each part (``cuda.pipeline``).  A second launch adds the parts in their order (``cuda.channel_sums``).
How many there are follows from the problem alone, not from the device: the same bits everywhere.

Sources: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014; for the parts NVIDIA, CUTLASS, "split-K".
"""

from functools import cache, partial
from typing import NamedTuple

from ..cuda import simt, tensor_core
from ..cuda.arrays import view
from ..cuda.build import device
from ..cuda.channel_sums import ChannelSums, of_matrix
from ..cuda.epilogue import Epilogue
from ..cuda.integers import divide
from ..cuda.launch import start
from ..cuda.memory import at
from ..cuda.operands import MULTIPROCESSORS, aligned, blocks, covered, store_width
from ..cuda.panel import ACROSS, Source, fillers
from ..cuda.pipeline import matrix_source, product
from ..cuda.workspace import Workspace

NOWHERE = -(2**30)
"""Where a row of A that does not exist is: no pixel brings it into the image."""

SPARE, DOWN, RIGHT, PIXEL = 0, 1, 2, 3
"""Registers of a source: one for anybody; the first row, the first column and the element of the pixel's window."""
OWN, ROW = 3, 3
"""Registers of a source, and for each of a thread's rows: how far its tap is down and to the right, in pixels; in elements."""

LEAST_SLICES = 16
"""Slices of K of one part: fewer take less time than adding one more part."""


class Taps(NamedTuple):
    """The geometry: C (M, N) is R * S * C by filters, K = N * P * Q what is summed over, ``part`` of it at once."""

    M: int
    N: int
    K: int
    part: int
    b_pitch: int
    C: int
    H: int
    W: int
    P: int
    Q: int
    S: int
    stride_h: int
    stride_w: int
    top: int
    left: int
    dilation_h: int
    dilation_w: int


@device
def begin(state, i, row, g):
    """Find the tap and the channel of ``row``."""
    own = 1 + OWN + ROW * i
    divide(at(state, SPARE), row, g.C)
    tap = state[SPARE]
    divide(at(state, SPARE), tap, g.S)
    r = state[SPARE]
    state[own] = r * g.dilation_h
    state[own + 1] = (tap - r * g.S) * g.dilation_w
    state[own + 2] = (state[own] * g.W + state[own + 1]) * g.C + row - tap * g.C
    if row >= g.M:
        state[own] = NOWHERE


@device
def step(state, k, g):
    """Find the window of output pixel ``k``."""
    divide(at(state, SPARE), k, g.P * g.Q)
    image = state[SPARE]
    within = k - image * (g.P * g.Q)
    divide(at(state, SPARE), within, g.Q)
    p = state[SPARE]
    state[DOWN] = p * g.stride_h - g.top
    state[RIGHT] = (within - p * g.Q) * g.stride_w - g.left
    state[PIXEL] = ((image * g.H + state[DOWN]) * g.W + state[RIGHT]) * g.C


@device
def find(state, i, row, k, g):
    """The element of X, and whether it is inside the image."""
    own = 1 + OWN + ROW * i
    h, w = state[own] + state[DOWN], state[own + 1] + state[RIGHT]
    inside = h >= 0 and h < g.H and w >= 0 and w < g.W
    return state[own + 2] + state[PIXEL], inside and k < g.K


TAPS = Source(OWN, ROW, begin, step, find)


@cache
def variant(make_engine, tile, widths, store):
    """The kernel that copies images and gradients ``widths`` words at a time."""
    engine = make_engine(tile, ACROSS, ACROSS, store)
    a, b = (engine.a_panel, ACROSS, widths[0], TAPS), (engine.b_panel, ACROSS, widths[1], matrix_source("b", ACROSS))
    return product(engine, *fillers(a, b, tile.threads), Taps)


class BackwardWeight:
    """A plan: ``plan(grad_output, x, out)``, out of the weights' shape; ``parts`` may be chosen."""

    def __init__(self, problem, threads=1, *, engine, tiles, tile=None, parts=None):
        self.problem, self.threads, self.engine = problem, threads, engine
        M, N, K = problem.depth, problem.K, problem.N * problem.P * problem.Q
        self.tile = tile or covered(tiles, M, N)
        depth = engine(self.tile, ACROSS, ACROSS, 1).depth
        slices, self.blocks = max(1, -(-K // depth)), blocks(self.tile, M, N)
        parts = parts or max(1, min(MULTIPROCESSORS * self.tile.blocks // self.blocks, slices // LEAST_SLICES))
        part = -(-slices // parts)
        self.parts = -(-slices // part)
        before = problem.padding[0][0], problem.padding[1][0]
        sizes = problem.C, problem.H, problem.W, problem.P, problem.Q, problem.S
        self.geometry = Taps(M, N, K, part * depth, N, *sizes, *problem.stride, *before, *problem.dilation)
        self.workspace_bytes = 0
        if self.parts > 1:
            self.partial, self.total = (
                Workspace(self.parts, M * N),
                ChannelSums(self.parts, M * N, of_matrix(self.parts, M * N)),
            )
            self.workspace_bytes = self.partial.nbytes + self.total.workspace_bytes

    def __call__(self, grad_output, x, out):
        """Write the gradient of the weights into ``out``."""
        gradient, images, result = view(grad_output), view(x), view(out)
        widths = 4 if aligned(images, self.problem.C) else 1, 4 if aligned(gradient, self.problem.K) else 1
        written = self.partial.view if self.parts > 1 else result
        kernel = variant(self.engine, self.tile, widths, store_width(view(written)._replace(shape=(self.geometry.N,))))
        start(kernel, (self.blocks, self.parts), (written, images, gradient, None, None), (self.geometry, Epilogue(0, 0, 0)))
        if self.parts > 1:
            self.total([self.partial.view], result)
        return out


Simt = partial(BackwardWeight, engine=simt.engine, tiles=simt.TILES)
Tf32, Bf16, Fp16 = (
    partial(BackwardWeight, engine=partial(tensor_core.engine, arithmetic=name), tiles=tensor_core.TILES)
    for name in ("tf32", "bf16", "fp16")
)
Split = partial(BackwardWeight, engine=partial(tensor_core.engine, arithmetic="split"), tiles=tensor_core.SPLIT_TILES)

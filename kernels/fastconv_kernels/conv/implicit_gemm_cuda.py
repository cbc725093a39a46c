"""Convolution as a matrix product whose left operand is never written down: NHWC images, HWIO weights.

    Y[pixel, k] = sum over (r, s, c) of X[pixel moved by (r, s), c] * W[(r, s, c), k]

is C = A @ B with a row of A for each output pixel, a column of it for each (r, s, c), and B the weights as they lie in memory.
The loop along K is ``cuda.pipeline``'s, the arithmetic that of either engine; what is here is where an element of A is: a
thread knows, for each pixel that it copies, its window's first row and column, and for each slice which (r, s, c) it is at.
What is outside of the image is not copied but set to zero.

    block      a tile of C, K in slices of 16 (float32 arithmetic) or 32 (tensor cores); tile, stages and sums: the engine
      copies   all threads, each the same pixels of A in every slice, 16 bytes at a time where channels are a multiple of 4
      sums     in the registers of each warp
      barrier  one for each slice (``cuda.pipeline``)

Sources: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014; Chellapilla et al., "High Performance
Convolutional Neural Networks for Document Processing", 2006.
"""

from functools import cache, partial
from typing import NamedTuple

from ..cuda import simt, tensor_core, warpgroup_engine
from ..cuda.arrays import View, view
from ..cuda.build import device
from ..cuda.epilogue import Epilogue
from ..cuda.implicit import NOWHERE, ImplicitProduct
from ..cuda.integers import divide
from ..cuda.k_major import Packed
from ..cuda.memory import at
from ..cuda.operands import aligned, store_width
from ..cuda.panel import ACROSS, ALONG, Source, fillers
from ..cuda.pipeline import matrix_source, product

SPARE, DOWN, RIGHT, MOVED = 0, 1, 2, 3
"""Registers of a source: one for anybody; how far its taps are down and to the right, in pixels and in elements."""
OWN, PIXEL = 3, 3
"""Registers of a source, and for each of a thread's pixels: row, column and element where it begins."""


class Windows(NamedTuple):
    """The geometry: C (M, N) is the output, N * P * Q pixels by K channels, and K = R * S * C what is summed over."""

    M: int
    N: int
    K: int
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
    """Find the window of output pixel ``row``."""
    own = 1 + OWN + PIXEL * i
    divide(at(state, SPARE), row, g.P * g.Q)
    image = state[SPARE]
    within = row - image * (g.P * g.Q)
    divide(at(state, SPARE), within, g.Q)
    p, q = state[SPARE], within - state[SPARE] * g.Q
    state[own] = p * g.stride_h - g.top
    state[own + 1] = q * g.stride_w - g.left
    state[own + 2] = ((image * g.H + state[own]) * g.W + state[own + 1]) * g.C
    if row >= g.M:
        state[own] = NOWHERE


@device
def step(state, k, g):
    """Find which (r, s, c) of the window ``k`` is."""
    divide(at(state, SPARE), k, g.C)
    tap = state[SPARE]
    c = k - tap * g.C
    divide(at(state, SPARE), tap, g.S)
    r = state[SPARE]
    state[DOWN] = r * g.dilation_h
    state[RIGHT] = (tap - r * g.S) * g.dilation_w
    state[MOVED] = (state[DOWN] * g.W + state[RIGHT]) * g.C + c


@device
def find(state, i, row, k, g):
    """The element of X, and whether it is inside the image."""
    own = 1 + OWN + PIXEL * i
    h, w = state[own] + state[DOWN], state[own + 1] + state[RIGHT]
    inside = h >= 0 and h < g.H and w >= 0 and w < g.W
    return state[own + 2] + state[MOVED], inside and k < g.K


WINDOWS = Source(OWN, PIXEL, begin, step, find)


@cache
def variant(make_engine, tile, widths, store, turned=False):
    """The kernel that copies images and weights ``widths`` words at a time; ``turned`` weights lie along the sum."""
    order = ALONG if turned else ACROSS
    engine = make_engine(tile, ALONG, order, store)
    a, b = (engine.a_panel, ALONG, widths[0], WINDOWS), (engine.b_panel, order, widths[1], matrix_source("b", order))
    return product(engine, *fillers(a, b, tile.threads), Windows)


class Forward(ImplicitProduct):
    """A plan: ``plan(x, packed, out, bias=None, residual=None, activation=None)``; weights are taken as they are."""

    @staticmethod
    def shape_of(p):
        before = p.padding[0][0], p.padding[1][0]
        sizes = p.C, p.H, p.W, p.P, p.Q, p.S
        return Windows(p.N * p.P * p.Q, p.K, p.depth, p.K, *sizes, *p.stride, *before, *p.dilation)

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        x, weight, out = map(view, (x, packed, out))
        widths = 4 if aligned(x, self.problem.C) else 1, 4 if aligned(weight, self.problem.K) else 1
        kernel = variant(self.engine, self.tile, widths, store_width(out))
        epilogue = Epilogue(int(bias is not None), int(residual is not None), int(activation == "relu"))
        given = [None if array is None else view(array) for array in (bias, residual)]
        self.compute(kernel, self.geometry, out, x, weight, epilogue, *given)


class WarpgroupForward(Forward):
    """On Hopper's warpgroups, which read both operands along the sum: the weights are turned, and rounded, before."""

    def __init__(self, problem, threads=1, **about):
        super().__init__(problem, threads, **about)
        self.turned = Packed(problem.K, problem.depth, self.tile.columns, "tf32")
        self.geometry = self.geometry._replace(b_pitch=self.turned.pitch)
        self.workspace_bytes = self.turned.nbytes

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        x, weight, result, depth = view(x), view(packed), view(out), self.problem.depth
        if result.size:
            self.turned.fill(View(weight.address, (depth, self.problem.K), (self.problem.K, 1), weight.dtype), 0)
        widths = 4 if aligned(x, self.problem.C) else 1, 4 if depth % 4 == 0 else 1  # no element of a row's end but its own
        kernel = variant(self.engine, self.tile, widths, store_width(result), turned=True)
        epilogue = Epilogue(int(bias is not None), int(residual is not None), int(activation == "relu"))
        given = [None if array is None else view(array) for array in (bias, residual)]
        weights = self.turned.matrix._replace(dtype=weight.dtype)
        self.compute(kernel, self.geometry, result, x, weights, epilogue, *given)


Simt = partial(Forward, engine=simt.engine, tiles=simt.TILES)
Tf32, Bf16, Fp16 = (
    partial(Forward, engine=partial(tensor_core.engine, arithmetic=name), tiles=tensor_core.TILES)
    for name in ("tf32", "bf16", "fp16")
)
Split = partial(Forward, engine=partial(tensor_core.engine, arithmetic="split"), tiles=tensor_core.SPLIT_TILES)
WarpgroupTf32 = partial(WarpgroupForward, engine=warpgroup_engine.engine, tiles=warpgroup_engine.TILES)

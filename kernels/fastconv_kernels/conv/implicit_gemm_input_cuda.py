"""The gradient of a convolution's input as a matrix product: NHWC images, HWIO weights.

    dX[pixel, c] = sum over (r, s, k) of dY[the output pixel that has read it through (r, s), k] * W[(r, s, c), k]

is C = A @ B with a row of A for each input pixel, a column of it for each (r, s, k), and B the weights with c and k exchanged,
which is a matter of how they are read: both operands lie along the sum.  As forward, A is never written down.

    block      a tile of C, K in slices of 16 (float32 arithmetic) or 32 (tensor cores); tile, stages and sums: the engine
      copies   all threads, each the same pixels of A in every slice, 16 bytes at a time where channels are a multiple of 4
      sums     in the registers of each warp
      barrier  one for each slice (``cuda.pipeline``)

With a stride, pixels of one *phase*, a multiple of the stride apart, have been read through the same taps, and no others:
each phase is a product of its own, of stride one, and nothing is multiplied in vain.  Where its rows go, ``pixel_of`` says.

Sources: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014; for the phases Dumoulin & Visin, "A Guide to
Convolution Arithmetic for Deep Learning", 2016.
"""

from functools import cache, partial
from itertools import product as every
from typing import NamedTuple

from ..cuda import simt, tensor_core, warpgroup_engine
from ..cuda.arrays import view
from ..cuda.build import device
from ..cuda.epilogue import Epilogue
from ..cuda.implicit import NOWHERE, ImplicitProduct
from ..cuda.integers import divide
from ..cuda.memory import at
from ..cuda.operands import aligned, store_width
from ..cuda.panel import ALONG, Source, fillers
from ..cuda.pipeline import product

SPARE, DOWN, RIGHT, MOVED = 0, 1, 2, 3
"""Registers of a source: one for anybody; how far its taps are down and to the right, in pixels and in elements."""
OWN, PIXEL = 3, 3
"""Registers of a source, and for each of a thread's pixels: row, column and element where it begins."""


class Transposed(NamedTuple):
    """The geometry of a phase of the transpose: C (M, N) is the gradient of N * height * width of the pixels by C channels.

    K is the phase's taps, ``across`` of them side by side, times the filters; its pixels are ``stride_*`` apart, from
    ``first_*`` on, the weights of its taps ``weight_*`` rows apart, from ``weight`` on.
    """

    M: int
    N: int
    K: int
    filters: int
    height: int
    width: int
    P: int
    Q: int
    across: int
    top: int
    left: int
    dilation_h: int
    dilation_w: int
    weight: int
    weight_down: int
    weight_right: int
    H: int
    W: int
    first_h: int
    first_w: int
    stride_h: int
    stride_w: int


@device
def begin_transposed(state, i, row, g):
    """Find the output pixel that the phase's first tap has read pixel ``row`` for."""
    own = 1 + OWN + PIXEL * i
    divide(at(state, SPARE), row, g.height * g.width)
    image = state[SPARE]
    within = row - image * (g.height * g.width)
    divide(at(state, SPARE), within, g.width)
    state[own] = state[SPARE] + g.top
    state[own + 1] = within - state[SPARE] * g.width + g.left
    state[own + 2] = ((image * g.P + state[own]) * g.Q + state[own + 1]) * g.filters
    if row >= g.M:
        state[own] = NOWHERE


@device
def step_transposed(state, k, g):
    """Find which tap and filter ``k`` is."""
    divide(at(state, SPARE), k, g.filters)
    tap = state[SPARE]
    divide(at(state, SPARE), tap, g.across)
    state[DOWN] = state[SPARE] * g.dilation_h
    state[RIGHT] = (tap - state[SPARE] * g.across) * g.dilation_w
    state[MOVED] = k - tap * g.filters - (state[DOWN] * g.Q + state[RIGHT]) * g.filters


@device
def find_transposed(state, i, row, k, g):
    """The gradient of the output pixel that has read this input pixel through this tap, and whether there is one."""
    own = 1 + OWN + PIXEL * i
    p, q = state[own] - state[DOWN], state[own + 1] - state[RIGHT]
    inside = p >= 0 and p < g.P and q >= 0 and q < g.Q
    return state[own + 2] + state[MOVED], inside and k < g.K


@device
def begin_filters(state, i, row, g):
    pass


@device
def step_filters(state, k, g):
    """Find row (r, s) of the weights, and the filter in it."""
    divide(at(state, SPARE), k, g.filters)
    tap = state[SPARE]
    divide(at(state, SPARE), tap, g.across)
    weight = g.weight + state[SPARE] * g.weight_down + (tap - state[SPARE] * g.across) * g.weight_right
    state[1] = weight * g.N * g.filters + k - tap * g.filters


@device
def find_filters(state, i, row, k, g):
    """Weight (r, s, c, filter), where c is the ``row``."""
    return state[1] + row * g.filters, row < g.N and k < g.K


@device
def pixel_of(quotient, row, g):
    """Which pixel of the input the phase's pixel ``row`` is."""
    divide(quotient, row, g.height * g.width)
    image = quotient[0]
    within = row - image * (g.height * g.width)
    divide(quotient, within, g.width)
    h, w = g.first_h + quotient[0] * g.stride_h, g.first_w + (within - quotient[0] * g.width) * g.stride_w
    return (image * g.H + h) * g.W + w


TRANSPOSED = Source(OWN, PIXEL, begin_transposed, step_transposed, find_transposed)
FILTERS = Source(1, 0, begin_filters, step_filters, find_filters)


class Axis(NamedTuple):
    """A phase along one axis: its pixels are ``first``, ``first`` + stride, …, and its taps ``tap``, ``tap`` + ``step``, ….

    Tap j has read pixel i for output ``origin`` + i - j * ``dilation``.
    """

    first: int
    pixels: int
    tap: int
    step: int
    taps: int
    origin: int
    dilation: int


def phases(length, taps, stride, before, dilation):
    """The phases of one axis: pixels whose distance is a multiple of the stride have been read through the same taps."""
    for first in range(min(stride, length)):
        through = [tap for tap in range(taps) if (first + before - tap * dilation) % stride == 0] or [0]
        count = len(through) if (first + before - through[0] * dilation) % stride == 0 else 0
        step = through[1] - through[0] if count > 1 else 1
        origin = (first + before - through[0] * dilation) // stride
        yield Axis(first, -(-(length - first) // stride), through[0], step, count, origin, step * dilation // stride)


@cache
def variant(make_engine, tile, widths, store):
    """The kernel that copies gradients and weights ``widths`` words at a time."""
    engine = make_engine(tile, ALONG, ALONG, store, pixel_of)
    a, b = (engine.a_panel, ALONG, widths[0], TRANSPOSED), (engine.b_panel, ALONG, widths[1], FILTERS)
    return product(engine, *fillers(a, b, tile.threads), Transposed)


class BackwardInput(ImplicitProduct):
    """A plan: ``plan(grad_output, packed, out)``."""

    @staticmethod
    def shapes_of(p):
        """The geometry of every phase."""
        axes = zip((p.H, p.W), (p.R, p.S), p.stride, (p.padding[0][0], p.padding[1][0]), p.dilation, strict=True)
        for y, x in every(*(list(phases(*axis)) for axis in axes)):
            weights = y.tap * p.S + x.tap, y.step * p.S, x.step
            window = max(1, x.taps), y.origin, x.origin, y.dilation, x.dilation
            where = p.H, p.W, y.first, x.first, *p.stride
            sizes = p.N * y.pixels * x.pixels, p.C, y.taps * x.taps * p.K
            yield Transposed(*sizes, p.K, y.pixels, x.pixels, p.P, p.Q, *window, *weights, *where)

    def __init__(self, problem, threads=1, **about):
        self.geometries = list(self.shapes_of(problem))
        super().__init__(problem, threads, **about)

    def shape_of(self, _problem):
        return self.geometries[0]

    def __call__(self, grad_output, packed, out):
        gradient, weight, out = map(view, (grad_output, packed, out))
        widths = tuple(4 if aligned(array, self.problem.K) else 1 for array in (gradient, weight))
        kernel = variant(self.engine, self.tile, widths, store_width(out))
        for geometry in self.geometries:
            self.compute(kernel, geometry, out, gradient, weight, Epilogue(0, 0, 0))


ROOMY = simt.TILES[0]._replace(blocks=1)
"""Its panels lie across the sum, its operands along it: single words are copied, each with an address in a register."""

Simt = partial(BackwardInput, engine=simt.engine, tiles=(ROOMY, *simt.TILES[1:]))
Tf32 = partial(BackwardInput, engine=tensor_core.engine, tiles=tensor_core.TILES)
Bf16, Fp16, Split = (  # whose fragments leave a thread of the larger tiles too few registers for the pixels
    partial(BackwardInput, engine=partial(tensor_core.engine, arithmetic=name), tiles=tensor_core.SPLIT_TILES)
    for name in ("bf16", "fp16", "split")
)
WarpgroupTf32 = partial(BackwardInput, engine=warpgroup_engine.engine, tiles=warpgroup_engine.TILES)

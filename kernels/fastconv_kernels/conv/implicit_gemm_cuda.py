"""Convolution as a matrix product whose left operand is never written down: NHWC images, HWIO weights.

    Y[pixel, k] = sum over (r, s, c) of X[pixel moved by (r, s), c] * W[(r, s, c), k]

is C = A @ B with a row of A for each output pixel, a column of it for each (r, s, c), and B the weights as they lie in memory.
The loop along K is ``cuda.pipeline``'s, the arithmetic that of either engine; what is here is where an element of A is: a
thread knows, for each pixel that it copies, its window's first row and column, and for each slice which (r, s, c) it is at.
What is outside of the image is not copied but set to zero.  The transpose, which makes the gradient of the input, is the same
with A read from the gradient of the output, and B the weights with c and k exchanged.

Sources: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014; Chellapilla et al., "High Performance
Convolutional Neural Networks for Document Processing", 2006.
"""

from functools import cache, partial
from typing import NamedTuple

from ..cuda import simt, tensor_core, warpgroup_engine
from ..cuda.arrays import View, view
from ..cuda.asm import SIMULATED
from ..cuda.build import device
from ..cuda.epilogue import Epilogue
from ..cuda.integers import divide
from ..cuda.k_major import Packed
from ..cuda.launch import is_hopper, start
from ..cuda.memory import at
from ..cuda.operands import aligned, blocks, fitting, store_width
from ..cuda.panel import ACROSS, ALONG, Source, fillers
from ..cuda.pipeline import matrix_source, product

NOWHERE = -(2**30)
"""The first row of the window of a pixel that does not exist: no r brings it into the image."""

SPARE, DOWN, RIGHT, MOVED, REST = 0, 1, 2, 3, 4
"""Registers of a source: one for anybody; how far its taps are down and to the right, in pixels and in elements; the transpose
has what remains when that is divided by the stride."""
OWN, PIXEL = 4, 4
"""Registers of a source, and for each of a thread's pixels: row, column and element where it begins; and that remainder."""


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


class Transposed(NamedTuple):
    """The geometry of the transpose: C (M, N) is the gradient of N * H * W pixels by C channels, K is R * S * filters."""

    M: int
    N: int
    K: int
    filters: int
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
def begin_transposed(state, i, row, g):
    """Find the input pixel ``row``, its coordinates divided by the stride: quotients, and both remainders as one number."""
    own = 1 + OWN + PIXEL * i
    divide(at(state, SPARE), row, g.H * g.W)
    image = state[SPARE]
    within = row - image * (g.H * g.W)
    divide(at(state, SPARE), within, g.W)
    h, w = state[SPARE] + g.top, within - state[SPARE] * g.W + g.left
    divide(at(state, SPARE), h, g.stride_h)
    down = state[SPARE]
    divide(at(state, SPARE), w, g.stride_w)
    right = state[SPARE]
    state[own] = down
    state[own + 1] = right
    state[own + 2] = ((image * g.P + down) * g.Q + right) * g.filters
    state[own + 3] = (h - down * g.stride_h) * g.stride_w + w - right * g.stride_w
    if row >= g.M:
        state[own] = NOWHERE


@device
def step_transposed(state, k, g):
    """Find which (r, s, filter) ``k`` is; its window's place divided by the stride, as for the pixels."""
    divide(at(state, SPARE), k, g.filters)
    tap = state[SPARE]
    divide(at(state, SPARE), tap, g.S)
    r = state[SPARE]
    h, w = r * g.dilation_h, (tap - r * g.S) * g.dilation_w
    divide(at(state, SPARE), h, g.stride_h)
    down = state[SPARE]
    divide(at(state, SPARE), w, g.stride_w)
    right = state[SPARE]
    state[DOWN] = down
    state[RIGHT] = right
    state[MOVED] = k - tap * g.filters - (down * g.Q + right) * g.filters
    state[REST] = (h - down * g.stride_h) * g.stride_w + w - right * g.stride_w


@device
def find_transposed(state, i, row, k, g):
    """The gradient of the output pixel that has read this input pixel through this tap, and whether there is one."""
    own = 1 + OWN + PIXEL * i
    p, q = state[own] - state[DOWN], state[own + 1] - state[RIGHT]
    inside = p >= 0 and p < g.P and q >= 0 and q < g.Q
    return state[own + 2] + state[MOVED], inside and state[own + 3] == state[REST] and k < g.K


@device
def begin_filters(state, i, row, g):
    pass


@device
def step_filters(state, k, g):
    """Find row (r, s) of the weights, and the filter in it."""
    divide(at(state, SPARE), k, g.filters)
    tap = state[SPARE]
    state[1] = tap * g.N * g.filters + k - tap * g.filters


@device
def find_filters(state, i, row, k, g):
    """Weight (r, s, c, filter), where c is the ``row``."""
    return state[1] + row * g.filters, row < g.N and k < g.K


TRANSPOSED = Source(OWN, PIXEL, begin_transposed, step_transposed, find_transposed)
FILTERS = Source(1, 0, begin_filters, step_filters, find_filters)


@cache
def variant(make_engine, tile, widths, store, transposed=False, turned=False):
    """The kernel that copies images and weights ``widths`` words at a time; forwards, weights may be ``turned``."""
    order = ALONG if transposed or turned else ACROSS  # of the weights along what is summed over
    engine = make_engine(tile, ALONG, order, store)
    images, weights = (TRANSPOSED, FILTERS) if transposed else (WINDOWS, matrix_source("b", order))
    a, b = (engine.a_panel, ALONG, widths[0], images), (engine.b_panel, order, widths[1], weights)
    return product(engine, *fillers(a, b, tile.threads), Transposed if transposed else Windows)


def needs_hopper(problem):
    """Why warpgroups cannot compute ``problem`` here."""
    return () if SIMULATED or is_hopper() else ("the device is not of the generation Hopper, sm_90",)


class ImplicitProduct:
    """What the plans of both directions have in common."""

    workspace_bytes = 0

    def __init__(self, problem, threads=1, *, engine, tiles, tile=None):
        self.problem, self.threads, self.engine = problem, threads, engine
        self.geometry = self.shape_of(problem)
        self.tile = tile or fitting(tiles, self.geometry.M, self.geometry.N)

    def pack(self, weight, packed=None):
        """The weight itself: HWIO is the matrix B.

        Raises
        ------
        ValueError
            It has gaps, or another order.
        """
        if not view(weight).contiguous:
            raise ValueError(f"weight: expected C-contiguous (R, S, C, K), got strides {view(weight).strides}")
        return weight

    def compute(self, kernel, out, images, weight, epilogue, bias=None, addend=None):
        """Start ``kernel``, if there is anything to compute."""
        if out.size:
            count = blocks(self.tile, self.geometry.M, self.geometry.N)
            start(kernel, count, (out, images, weight, bias, addend), (self.geometry, epilogue))


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
        self.compute(kernel, out, x, weight, epilogue, *given)


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
        self.compute(kernel, result, x, weights, epilogue, *given)


class BackwardInput(ImplicitProduct):
    """A plan: ``plan(grad_output, packed, out)``.

    A row of A is an input pixel, a column a tap and an output channel: the gradient of the output pixel that has read the
    pixel through the tap.  With a stride most taps have read a pixel for no output: zeros are multiplied in their place.
    """

    @staticmethod
    def shape_of(p):
        before = p.padding[0][0], p.padding[1][0]
        sizes = p.K, p.H, p.W, p.P, p.Q, p.S
        return Transposed(p.N * p.H * p.W, p.C, p.R * p.S * p.K, *sizes, *p.stride, *before, *p.dilation)

    def __call__(self, grad_output, packed, out):
        gradient, weight, out = map(view, (grad_output, packed, out))
        widths = tuple(4 if aligned(array, self.problem.K) else 1 for array in (gradient, weight))
        kernel = variant(self.engine, self.tile, widths, store_width(out), transposed=True)
        self.compute(kernel, out, gradient, weight, Epilogue(0, 0, 0))


SIMT = {"engine": simt.engine, "tiles": simt.TILES}
ENGINES = {name: partial(tensor_core.engine, arithmetic=name) for name in ("tf32", "bf16", "fp16", "split")}
WARPGROUP = {"engine": warpgroup_engine.engine, "tiles": warpgroup_engine.TILES}
WarpgroupTf32, BackwardInputWarpgroupTf32 = partial(WarpgroupForward, **WARPGROUP), partial(BackwardInput, **WARPGROUP)
Simt, BackwardInputSimt = partial(Forward, **SIMT), partial(BackwardInput, **SIMT)
Tf32, Bf16, Fp16 = (partial(Forward, engine=ENGINES[name], tiles=tensor_core.TILES) for name in ("tf32", "bf16", "fp16"))
Split = partial(Forward, engine=ENGINES["split"], tiles=tensor_core.SPLIT_TILES)
BackwardInputTf32, BackwardInputBf16, BackwardInputFp16, BackwardInputSplit = (
    partial(BackwardInput, engine=engine, tiles=tensor_core.SPLIT_TILES)  # room for what a pixel needs here
    for engine in ENGINES.values()
)

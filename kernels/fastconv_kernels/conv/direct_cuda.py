"""Convolution in groups, depthwise above all, as the definition has it: NHWC images, HWIO weights, a thread for each result.

    forward           thread: ``width`` output channels of a pixel, 4 where depthwise; its window tap by tap
    backward_input    thread: ``width`` input channels of a pixel; the output pixels that have read it, tap by tap
    backward_weight   thread: a weight and a part of the pixels, whose products it sums; a second launch adds the parts in
                      their order (``cuda.channel_sums``)

A depthwise convolution multiplies nine numbers, say, for one that it reads: memory is the limit, and matrices would be one
column wide.  Threads side by side have channels side by side, so that images and weights are read by lines; the windows of
neighbours overlap in the caches.  Every result is summed by one thread in a fixed order.

Source: Qiu et al., "Optimizing Depthwise Separable Convolution Operations on GPUs", 2021.
"""

from functools import cache
from typing import NamedTuple

from numba import cuda, float32, int32, types

from ..cuda.arrays import view
from ..cuda.build import device, kernel, numbers
from ..cuda.channel_sums import ChannelSums, of_matrix
from ..cuda.epilogue import Epilogue
from ..cuda.grid import MOST_BLOCKS, THREADS, blocks_for, movers
from ..cuda.integers import divide
from ..cuda.launch import start
from ..cuda.memory import at
from ..cuda.unrolling import unroll
from ..cuda.workspace import Workspace

FLOATS = types.CPointer(float32)

LEAST_PIXELS = 64
"""Of one part of a gradient's sum: fewer take less time than adding one more part."""


class Groups(NamedTuple):
    """The geometry: ``size`` work items; C input and K output channels, ``inputs`` and ``outputs`` of them a group."""

    size: int
    C: int
    K: int
    inputs: int
    outputs: int
    N: int
    H: int
    W: int
    P: int
    Q: int
    R: int
    S: int
    stride_h: int
    stride_w: int
    top: int
    left: int
    dilation_h: int
    dilation_w: int
    part: int


@device
def split(quotient, number, divisor):
    """(number // divisor, the rest); ``quotient`` is a register."""
    divide(quotient, number, divisor)
    return quotient[0], number - quotient[0] * divisor


@cache
def forward(width):
    """The kernel (x, weight, bias, residual, out): relu?(conv + bias? + residual?)."""
    load, store = movers(width)

    @kernel(types.void(*[FLOATS] * 5, numbers(Groups), numbers(Epilogue)), threads=THREADS, blocks=2)
    def run(x, weight, bias, residual, out, g, epilogue):
        total, values = cuda.local.array(width, float32), cuda.local.array(width, float32)
        weights, spare = cuda.local.array(width, float32), cuda.local.array(1, int32)
        for i in range(cuda.grid(1), g.size, cuda.gridsize(1)):
            pixel, channel = split(at(spare, 0), i * width, g.K)
            row, q = split(at(spare, 0), pixel, g.Q)
            image, p = split(at(spare, 0), row, g.P)
            group, _ = split(at(spare, 0), channel, g.outputs)
            for j in unroll(width):
                total[j] = 0
            for r in range(g.R):
                h = p * g.stride_h - g.top + r * g.dilation_h
                for s in range(g.S):
                    w = q * g.stride_w - g.left + s * g.dilation_w
                    if h >= 0 and h < g.H and w >= 0 and w < g.W:
                        source = ((image * g.H + h) * g.W + w) * g.C + group * g.inputs
                        for c in range(g.inputs):
                            load(at(values, 0), x, source + c)
                            load(at(weights, 0), weight, ((r * g.S + s) * g.inputs + c) * g.K + channel)
                            for j in unroll(width):
                                total[j] += values[j] * weights[j]
            place = pixel * g.K + channel
            for j in unroll(width):
                if epilogue.biased:
                    total[j] += bias[channel + j]
                if epilogue.adds:
                    total[j] += residual[place + j]
                if epilogue.rectifies and total[j] < 0:  # a NaN is not below zero and stays
                    total[j] = 0
            store(out, place, at(total, 0))

    return run


@cache
def backward_input(width):
    """The kernel (gradient, weight, out)."""
    load, store = movers(width)

    @kernel(types.void(*[FLOATS] * 3, numbers(Groups)), threads=THREADS, blocks=2)
    def run(gradient, weight, out, g):
        total, values = cuda.local.array(width, float32), cuda.local.array(width, float32)
        weights, spare = cuda.local.array(width, float32), cuda.local.array(1, int32)
        for i in range(cuda.grid(1), g.size, cuda.gridsize(1)):
            pixel, channel = split(at(spare, 0), i * width, g.C)
            row, w = split(at(spare, 0), pixel, g.W)
            image, h = split(at(spare, 0), row, g.H)
            group, own = split(at(spare, 0), channel, g.inputs)
            for j in unroll(width):
                total[j] = 0
            for r in range(g.R):
                down = h + g.top - r * g.dilation_h
                p, skipped_h = split(at(spare, 0), max(0, down), g.stride_h)
                for s in range(g.S):
                    right = w + g.left - s * g.dilation_w
                    q, skipped_w = split(at(spare, 0), max(0, right), g.stride_w)
                    reached = down >= 0 and right >= 0 and skipped_h == 0 and skipped_w == 0
                    if reached and p < g.P and q < g.Q:
                        first = group * g.outputs
                        source = ((image * g.P + p) * g.Q + q) * g.K + first
                        for k in range(g.outputs):
                            load(at(values, 0), gradient, source + k)
                            load(at(weights, 0), weight, ((r * g.S + s) * g.inputs + own) * g.K + first + k)
                            for j in unroll(width):
                                total[j] += values[j] * weights[j]
            store(out, pixel * g.C + channel, at(total, 0))

    return run


@cache
def backward_weight():
    """The kernel (gradient, x, out): out (parts, R * S * inputs, K), each of ``part`` output pixels."""

    @kernel(types.void(*[FLOATS] * 3, numbers(Groups)), threads=THREADS, blocks=4)
    def run(gradient, x, out, g):
        spare = cuda.local.array(1, int32)
        for i in range(cuda.grid(1), g.size, cuda.gridsize(1)):
            row, k = split(at(spare, 0), i, g.K)
            rest, c = split(at(spare, 0), row, g.inputs)
            rest, s = split(at(spare, 0), rest, g.S)
            part, r = split(at(spare, 0), rest, g.R)
            group, _ = split(at(spare, 0), k, g.outputs)
            first, pixels = part * g.part, g.N * g.P * g.Q
            image, within = split(at(spare, 0), first, g.P * g.Q)
            p, q = split(at(spare, 0), within, g.Q)
            total = float32(0)
            for pixel in range(first, min(first + g.part, pixels)):
                h = p * g.stride_h - g.top + r * g.dilation_h
                w = q * g.stride_w - g.left + s * g.dilation_w
                if h >= 0 and h < g.H and w >= 0 and w < g.W:
                    source = ((image * g.H + h) * g.W + w) * g.C + group * g.inputs + c
                    total += gradient[pixel * g.K + k] * x[source]
                q += 1
                if q == g.Q:
                    p, q = p + 1, 0
                if p == g.P:
                    image, p = image + 1, 0
            out[i] = total

    return run


class _Plan:
    workspace_bytes = 0

    def __init__(self, problem, threads=1):
        self.problem, self.threads = problem, threads
        self.depthwise = problem.C == problem.K == problem.groups

    def pack(self, weight, packed=None):
        """The weight itself.

        Raises
        ------
        ValueError
            It has gaps, or another order.
        """
        if not view(weight).contiguous:
            raise ValueError(f"weight: expected C-contiguous (R, S, C, K), got strides {view(weight).strides}")
        return weight

    def width(self, *arrays):
        """How many channels a thread takes: more than one only if each has a window of its own."""
        wide = self.depthwise and self.problem.C % 4 == 0
        return 4 if wide and all(view(a).address % 16 == 0 for a in arrays if a is not None) else 1

    def geometry(self, size, part=0):
        p, before = self.problem, (self.problem.padding[0][0], self.problem.padding[1][0])
        channels = p.C, p.K, p.C // p.groups, p.K // p.groups
        sizes = p.N, p.H, p.W, p.P, p.Q, p.R, p.S
        return Groups(size, *channels, *sizes, *p.stride, *before, *p.dilation, part)


class Forward(_Plan):
    """A plan: ``plan(x, packed, out, bias=None, residual=None, activation=None)``."""

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write relu?(conv + bias? + residual?) into ``out``."""
        result = view(out)
        if result.size:
            width = self.width(x, packed, out)
            g = self.geometry(result.size // width)
            epilogue = Epilogue(int(bias is not None), int(residual is not None), int(activation == "relu"))
            arrays = [None if array is None else view(array) for array in (x, packed, bias, residual, out)]
            start(forward(width), blocks_for(g.size), arrays, (g, epilogue))
        return out


class BackwardInput(_Plan):
    """A plan: ``plan(grad_output, packed, out)``."""

    def __call__(self, grad_output, packed, out):
        """Write the gradient of the input into ``out``."""
        result = view(out)
        if result.size:
            width = self.width(grad_output, packed, out)
            g = self.geometry(result.size // width)
            start(backward_input(width), blocks_for(g.size), (view(grad_output), view(packed), result), (g,))
        return out


class BackwardWeight(_Plan):
    """A plan: ``plan(grad_output, x, out)``; ``parts`` may be chosen."""

    def __init__(self, problem, threads=1, *, parts=None):
        super().__init__(problem, threads)
        pixels, weights = problem.N * problem.P * problem.Q, problem.depth * problem.K
        parts = parts or max(1, min(MOST_BLOCKS * THREADS // weights, pixels // LEAST_PIXELS))
        part = max(1, -(-pixels // parts))
        self.parts = max(1, -(-pixels // part))
        self.g = self.geometry(self.parts * weights, part)
        if self.parts > 1:
            self.partial = Workspace(self.parts, weights)
            self.total = ChannelSums(self.parts, weights, of_matrix(self.parts, weights))
            self.workspace_bytes = self.partial.nbytes + self.total.workspace_bytes

    def __call__(self, grad_output, x, out):
        """Write the gradient of the weights into ``out``."""
        written = view(out) if self.parts == 1 else self.partial.view
        start(backward_weight(), blocks_for(self.g.size), (view(grad_output), view(x), written), (self.g,))
        if self.parts > 1:
            self.total([written], out)
        return out

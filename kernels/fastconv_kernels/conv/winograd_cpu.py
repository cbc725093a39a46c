"""Winograd's convolution F(m x m, r x r) and its transpose: (m + r - 1)² products for m² outputs instead of m² r².

    V[point, patch, c] = Bᵀ d B        every n x n patch of the input, m pixels apart, n = m + r - 1      transform_images
    U[point, c, k] = G g Gᵀ            every r x r filter                                                 transform_filters
    M[point, patch, k] = V[point] @ U[point]        n² matrix products over the channels                  multiply_points
    out[m x m pixels] = Aᵀ M A + bias …                                                                   write_images

F(4x4, 3x3) multiplies 36 times where the definition does 144 times, F(2x2, 3x3) 16 instead of 36, F(4x4, 5x5) 64 instead of
400; with a stride of 2, where even pixels meet even taps and odd pixels odd taps, F(2x2, 3x3) 25 instead of 36, added up to 9
in M.  Lanes run over channels in all transforms, so that nothing is shuffled.  Images of planes (NCHW) are brought to channels
last and back a row of patches at a time, as many channels as there are lanes.  The gradient with respect to the input is the
same with the filters turned by 180 degrees.  Where max pooling follows, the m x m outputs are whole windows, and only their
maxima leave the registers.

Outputs seldom fill the last patches of an image.  These meet fewer points (``toom_cook.completion``): on a map of 14x14, 4 + 4
+ 4 + 2 outputs on a side, there are 484 products for a channel instead of 576.  Patches that meet the same points are taken
together, so that for each point they are a run of rows of V and M.

U is n² / r² times as large as the filters.  Where it is kept (``convolve``), patches are taken in blocks so small that V and,
of a panel of outputs, M stay in the second cache while U passes.  Where it would not stay in the third, or is large and needed
for a single call (``convolve_panels``), it never exists as a whole: V of a larger block is kept in the third cache, which all
threads share, and for it the filters of each panel of outputs are transformed anew, as many channels as stay in the second.

A NaN or an infinity spreads over its patch, and large numbers may overflow on the way: vectors of outputs that are not
finite are marked, and ``spoilt_cpu`` sums them as the definition says.

Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016; ``toom_cook`` for the matrices.
"""

from itertools import product

import numpy as np

from ..cpu.share import THREAD_FLOPS, threads_for
from ..cpu.tile import Tile, fitting
from ..cpu.transform import Scheme
from ..cpu.workspace import address_of, far_caches, unwritten, workspace, workspace_bytes
from ..problems.pooled import WINDOW
from .frame_cpu import flat
from .patch_ends import cut_images
from .spoilt_cpu import sum_marked
from .toom_cook import strided, transposed
from .winograd_blocks import ceiling, outputs_leave, sizes_for, streams
from .winograd_filters_cpu import Filters, pack_filters
from .winograd_panels_cpu import convolve_panels
from .winograd_stages_cpu import convolve

TILES = (6, 4), (8, 2), (8, 3), (8, 1), (6, 2), (4, 3)
"""(rows, vectors) of the products.

Measured on a Granite Rapids, 8x3 against 4x3: 28x28 with 32 and 96 channels, 5x5, took 0.93 times as long, 14x14 with 144 and
288 0.95.  With 16 channels 8x1, which keeps the multipliers just busy, took 0.6 times as long as 8x2, and 16x1 0.68.
"""

ACCURACY = {4: 64.0, 2: 8.0}
"""Outputs on a side → factor on the bound of a plain sum, for data of one magnitude: an error spreads over its patch.

Measured on normal data: below 1 from 8 channels on; where a sum has a single term up to 15 (m = 4) and 2 (m = 2).
"""

WINDOWS = {(4, 1, 1): (3, 5), (2, 1, 1): (3, 5), (2, 2, 2): (3, 5)}
"""(outputs, strides) → sides of the windows.

F(6x6, 3x3) multiplies 0.79 times as often as F(4x4, 3x3), but its 64 points take longer to transform and U is 1.8 times as
large: layers of 28x28 to 224x224 took 0.93 to 1.13 times as long.

With a stride of 2 larger tiles save more products but are slower: with F(3x3) and F(4x4) outputs, of 49 and 81 points, layers
of 56x56x128, 28x28x256 and 14x14x512 took 1.05 to 1.1 and 0.95 to 1.4 times as long as with the 25 points of F(2x2); on a
Granite Rapids, phases added up, 1.01 to 1.1 and 0.95 to 1.1: the input's transform took 1.7 times as long with F(4x4).
"""


def refuses(problem, outputs):
    """Why F(outputs x outputs, ·) cannot compute ``problem``."""
    against = []
    windows = WINDOWS.get((outputs, *problem.stride), ())
    if problem.R != problem.S or problem.R not in windows:
        known = " or ".join(f"{taps} x {taps}" for taps in windows) or "of any size"
        against.append(f"the window is {problem.R} x {problem.S}, with strides {problem.stride} not {known}")
    (above, _), (beside, _) = problem.padding
    if (above - beside) % max(problem.stride):
        against.append("with a stride of 2 the padding above and on the left must both be even, or both odd")
    if problem.dilation != (1, 1):
        against.append("it takes no dilation")
    if problem.groups != 1:
        against.append("it takes no groups")
    return tuple(against)


FEW_CHANNELS = 8
"""From so many on it wins: rows "n16 c3 … k16" and "n16 c8 … k8" of benchmarks/results/crossovers.json."""


def declines_pooled(problem, outputs):
    """Why another kernel should compute the convolution and pooling of ``problem``."""
    conv = problem.conv
    if min(conv.C, conv.K) < FEW_CHANNELS:
        return (f"with fewer than {FEW_CHANNELS} channels the transforms cost more than the products save",)
    patches = ceiling(conv.P, outputs) * ceiling(conv.Q, outputs)
    if patches * (outputs + conv.R - 1) ** 2 >= conv.P * conv.Q * conv.R * conv.S:
        return (f"the output fills its tiles of {outputs} x {outputs} so little that nothing is saved",)
    return ()


def meeting_table(meetings, window, reach, phases):
    """[tap, output row, output column < phases]: the pixel of a patch that meets the tap there; -1 if none does.

    meetings: for each output (tap, pixel) pairs, alike in rows and columns; window, reach: taps and pixels on a side
    """
    table = np.full((window, window, len(meetings), phases), -1, np.intp)
    for (i, row), (j, column) in product(enumerate(meetings), enumerate(meetings[:phases])):
        for (r, y), (s, x) in product(row, column):
            table[r, s, i, j] = y * reach + x
    return table.reshape(window * window, len(meetings), phases)


class _Winograd:
    """What the plans of both directions share.  One call at a time.

    method: the matrices, for each output of a row the (tap, pixel) pairs that it sums, and how many phases are added up;
    source: (rows, columns, channels, top, left), top and left where the first patch begins; target: (rows, columns, channels);
    steps: pixels from one patch to the next in source and target; turned: whether the filters are turned by 180 degrees.
    """

    def __init__(self, problem, threads, method, source, target, steps, turned, tile, prepared, most_bytes):
        matrices, meetings, phases = method
        self.problem, self.window, self.turned, self.prepared = problem, problem.R, turned, prepared
        depth, width, self.scheme = source[2], target[2], Scheme(matrices.output[:, ::phases], *matrices[1:])
        self.tile = tile or fitting(TILES, width, problem.dtype)
        lanes, points, self.planes = self.tile.lanes, self.scheme.points, problem.layout == "NCHW"

        def existing(few):
            return range(few), range(self.window), sorted({pixel for row in meetings[:few] for _, pixel in row})

        cuts = cut_images(problem.N, source, target, steps, matrices, existing, problem.dtype, self.planes)
        self.source, self.target, self.ends, self.replacing = cuts
        across = self.target.across
        patches, panels = problem.N * self.target.down * across, ceiling(width, self.tile.columns)
        self.threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        reach, outputs = matrices.input.shape[1], min(steps)
        row_of_patches = max(reach * ((across - 1) * steps[0] + reach), across * steps[1] ** 2) if self.planes else 0
        marks = patches * ceiling(width, lanes)
        self.streamed, together = streams(problem, self.target, self.tile)
        # Not where the third cache is far: images that come meanwhile hold up U, which comes from there too.
        self.asks = self.streamed and not self.planes and not far_caches()
        bounds = problem.image_bytes + problem.weight_bytes, self.scheme.sums == points
        for sizes in sizes_for(self.tile, points, patches, panels, depth, self.threads, prepared, together, *bounds):
            v_size, m_size, u_size = self._lengths(sizes, steps[1] ** 2 * lanes)
            rows, lengths = 1 if sizes.chunk else self.threads, (m_size + reach**2 * lanes, u_size, row_of_patches * lanes)
            self.workspace_bytes = workspace_bytes(self.threads, lengths, problem.dtype) + marks
            self.workspace_bytes += workspace_bytes(rows, (v_size,), problem.dtype)
            if most_bytes is None or self.workspace_bytes <= most_bytes:
                break
        self.sizes, self.leave = sizes, outputs_leave(self.target, self.tile, points * depth * width)
        *buffers, self.room = (workspace(self.threads, length, problem.dtype) for length in lengths)
        self.buffers = workspace(rows, v_size, problem.dtype), *buffers
        self.strip = Tile(outputs, 1, problem.dtype, lanes)
        self.meetings = meeting_table(meetings, self.window, reach, steps[1] // outputs), steps[0] // outputs
        self.no_bias, self.marks = np.zeros(width, problem.dtype), np.zeros(marks, np.uint8)

    def _lengths(self, sizes, outputs):
        """Elements of V, and of M and U for one thread; outputs: of a patch, a vector of channels."""
        points, tile = self.scheme.points, self.tile
        u_size = points * sizes.u_point + self.window**2 * sizes.chunk * tile.columns + tile.lanes if sizes.chunk else 0
        # A plain sum needs a patch of all input channels and its outputs.
        return max(points * sizes.v_point, points * sizes.v_row + outputs), self.scheme.sums * sizes.m_point, u_size

    def _line(self, weight):
        """The weight as one line, and the strides from one tap row and column, input and output channel to the next."""
        line, (down, right, channel, output) = flat(weight.transpose(2, 3, 1, 0) if self.planes else weight)
        return line, (down, right, output, channel) if self.turned else (down, right, channel, output)

    def pack(self, weight, packed=None):
        """The weight, (R, R, C, K) or in NCHW (K, C, R, R), of any strides, as calls take it.

        Transformed where U is kept; itself where the filters are transformed in each call.
        """
        if self.sizes.chunk and not self.prepared:
            return weight
        return self._packed(weight, packed)

    def _packed(self, weight, packed=None):
        """The filters, and U if it is kept."""
        depth, width, sizes, (line, strides) = self.source.channels, self.target.channels, self.sizes, self._line(weight)
        points = 0 if sizes.chunk else self.scheme.points
        if packed is None:
            filters = self.window**2 * sizes.panels * depth * self.tile.columns
            packed = unwritten(filters + points * sizes.u_point, self.problem.dtype)
        threads = threads_for(self.threads, 2 * (1 + points) * self.window**2 * depth * width, THREAD_FLOPS)
        rest = line, strides, self.turned, (depth, width), packed, sizes, threads
        pack_filters(self.tile, self.scheme, *rest)
        return packed

    def _run(self, x, packed, bias, residual, out, positions=None, rectifies=False, keeps=False):
        bias, staging, addend = self.no_bias if bias is None else bias, None, residual
        if self.planes:
            staging, addend = (self.room, residual is not None, self.leave), out if residual is None else residual
        streams = self.streamed and positions is None and out.ctypes.data % (self.tile.lanes * out.itemsize) == 0
        flags = rectifies, keeps, streams, streams and self.asks
        cut = self._arguments(x, packed, bias, addend, out, positions, flags)
        if not (self._by_panels if self.sizes.chunk else self._by_blocks)(cut, packed, staging):
            return out
        result = out
        if packed.ndim > 1:
            packed = self._packed(packed)
        if self.planes:  # rare enough to convert whole images for it
            x, residual, result = (
                a if a is None else np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (x, residual, out)
            )
        cut = self._arguments(x, packed, bias, residual, result, positions, flags)
        sum_marked(self.tile, self.strip, *cut[1:], self.meetings, self.buffers[0], len(self.buffers[0]))
        if self.planes:
            np.copyto(out, result.transpose(0, 3, 1, 2))
        return out

    def _arguments(self, x, packed, bias, residual, out, positions, flags):
        """What all stages are given."""
        residual = None if residual is None else residual.reshape(-1)
        operands = x.reshape(-1), address_of(packed), bias, residual, out.reshape(-1), positions, self.marks
        return self.tile, self.scheme, operands, flags, self.source, self.target

    def _by_blocks(self, cut, packed, staging):
        return convolve(*cut, self.ends, self.sizes, self.buffers[:2], staging, self.threads)

    def _by_panels(self, cut, packed, staging):
        nr, depth, width, turned, line = self.tile.columns, self.source.channels, self.target.channels, False, packed
        strides, panel = (self.window * depth * nr, depth * nr, nr, 1), self.window**2 * depth * nr
        if packed.ndim > 1:
            line, strides = self._line(packed)
            panel, turned = nr * strides[3], self.turned
        filters = Filters(address_of(line), *strides, panel, width, turned)
        return convolve_panels(*cut, self.ends, filters, self.sizes, self.buffers, staging, self.threads)


class Forward(_Winograd):
    """A plan for the convolution of images of one shape by F(outputs x outputs, R x R)."""

    def __init__(self, problem, threads=1, tile=None, *, outputs=4, prepared=False, most_bytes=None):
        stride, ((above, _), (beside, _)) = problem.stride[0], problem.padding
        matrices = strided(outputs, problem.R, stride)
        meetings = [[(tap, stride * i + tap) for tap in range(problem.R)] for i in range(outputs)]
        images = (problem.H, problem.W, problem.C, -above, -beside), (problem.P, problem.Q, problem.K)
        steps, asked = (outputs * stride, outputs), (tile, prepared, most_bytes)
        super().__init__(problem, threads, (matrices, meetings, stride), *images, steps, False, *asked)

    def __call__(self, x, packed, out, bias=None, residual=None, activation=None):
        """Write activation(conv(x, weight) + bias + residual) into ``out``.

        Parameters
        ----------
        x : (N, H, W, C) or (N, C, H, W), C-contiguous
        packed : what ``pack`` returned
        out, residual : (N, P, Q, K) or (N, K, P, Q), C-contiguous
        bias : (K,)
        activation : None or "relu"
        """
        return self._run(x, packed, bias, residual, out, rectifies=activation == "relu")


class BackwardInput(_Winograd):
    """A plan for the gradient with respect to the input."""

    def __init__(self, problem, threads=1, tile=None, *, outputs=4, prepared=False, most_bytes=None):
        stride, taps, ((above, _), (beside, _)) = problem.stride[0], problem.R, problem.padding
        rest = above % stride  # before the first output of a patch, as much beside as above
        matrices, first = transposed(outputs, taps, stride, rest)
        reaches = [[(tap, h + rest - (taps - 1 - tap)) for tap in range(taps)] for h in range(outputs * stride)]
        meetings = [[(tap, reach // stride - first) for tap, reach in row if reach % stride == 0] for row in reaches]
        source = problem.P, problem.Q, problem.K, above // stride + first, beside // stride + first
        target = problem.H, problem.W, problem.C
        steps, asked = (outputs, outputs * stride), (tile, prepared, most_bytes)
        super().__init__(problem, threads, (matrices, meetings, 1), source, target, steps, True, *asked)

    def __call__(self, grad_output, packed, out):
        """Write the gradient of the input for that of the output into ``out``; both C-contiguous, in the problem's layout."""
        return self._run(grad_output, packed, None, None, out)


class PooledForward(Forward):
    """A plan for convolution, bias, ReLU and 2 x 2 max pooling of NHWC images of one shape."""

    def __init__(self, problem, threads=1, tile=None, *, outputs=4, **options):
        super().__init__(problem.conv, threads, tile, outputs=outputs, **options)
        self.problem = problem
        self.target = self.target._replace(rows=problem.P, columns=problem.Q, step=outputs // WINDOW)
        self.no_positions = np.zeros(1, np.uint8)

    def __call__(self, x, packed, out, positions=None, bias=None):
        """Write the maximum of each 2 x 2 window of relu(conv(x, weight) + bias) into ``out``.

        Parameters
        ----------
        x : (N, H, W, C), C-contiguous
        packed : what ``pack`` returned
        out : (N, P // 2, Q // 2, K), C-contiguous
        positions : the same shape, uint8, optional
            0 … 3: where in its window the first maximum was; 4 where ReLU set it to zero.
        bias : (K,)
        """
        places = self.no_positions if positions is None else positions.reshape(-1)
        return self._run(x, packed, bias, None, out, places, True, positions is not None)

"""Gradient of the input for images of few channels: a matrix product over output channels, then col2im; NHWC or NCHW.

    D[(c, r, s), pixel] = sum over k of weight[k, (c, r, s)] * grad_output[pixel, k]                        rank1
    grad_x[c, window(pixel) + (r, s)] += D[(c, r, s), pixel]                                              add_row

Lanes over one or three channels would be wasted.  Here they lie over pixels of the gradient, and the rows of a tile are all
elements of a window: the product is a whole one, and col2im costs one addition for each of its sums.  D exists for a few rows
of the gradient only, in a frame of zeros, so that its rows are added shifted by a tap without asking where they end.  The
sums are planes of one channel, whose columns are sorted by phase (x mod stride): neighbours in D are neighbours there.

Source: Chellapilla, Puri, Simard, "High Performance Convolutional Neural Networks for Document Processing", 2006.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, serial, threaded
from ..cpu.pack import square, transpose
from ..cpu.places import block, panel, strips
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry, load_first, nothing, prefetch, store
from ..cpu.tile import fitting, load_tile, pointer, rank1, store_tile, zero
from ..cpu.workspace import aligned, apart, caches, even, workspace
from .frame_cpu import copy, flat
from .geometry import integer, transposed_axes

TILES = (8, 3), (9, 3), (6, 4), (11, 2), (6, 2), (4, 3)
"""(rows, vectors) that keep both multipliers busy."""


@inlined
def pack_pixels(tile, source, across, along, count, depth, target):
    """target[k, pixel] = source[pixel * across + k * along] for ``count`` pixels, at most a vector; k in rows of a panel."""
    piece = square(tile)
    if across == 1:
        for k in range(depth):
            store(target + k * tile.columns, load_first(source + k * along, count))
    else:
        for k in range(0, depth, tile.lanes):
            for i in range(tile.lanes):
                prefetch(source + ((AHEAD * tile.lanes + i) * across + k))
            place = block(piece, target + k * tile.columns, tile.columns, depth - k, tile.lanes)
            if count >= tile.lanes and depth - k >= tile.lanes:
                store_tile(transpose(load_tile(piece, block(piece, source + k, across, tile.lanes, tile.lanes))), place)
            else:
                store_tile(transpose(load_tile(piece, block(piece, source + k, across, count, depth - k))), place)


@jit
def multiply_pixels(tile, panels, shape, gradient, strides, vectors, last, packed, products):
    """products[(c, r, s), pixel] for some rows of the gradient, pixel by pixel where ``vectors`` says.

    shape: (rows of D, depth, pitch of D); gradient: pointer to the first pixel; strides: from pixel to pixel, channel to
    channel; vectors: (tiles, 3, vectors) first pixel, place in D, pixels; last: of the tiles
    """
    rows, depth, pitch = shape
    across, along = strides
    for index in range(last):
        firsts = pointer(tile, vectors, index * 3 * tile.vectors)
        places, counts = firsts + tile.vectors, firsts + 2 * tile.vectors
        for j in range(tile.vectors):
            source = gradient + entry(firsts, j) * across
            pack_pixels(tile, source, across, along, entry(counts, j), depth, packed + j * tile.lanes)
        for i in range(0, rows, tile.rows):
            a, total = panels + i * depth, zero(tile)
            for k in range(depth):
                total = rank1(total, a + k * tile.rows, panel(tile, packed + k * tile.columns))
            store_tile(total, strips(tile, products + i * pitch, pitch, rows - i, places, counts))


@inlined
def add_row(tile, products, taps, starts, width, phases, plane):
    """plane[phase, x] += products[tap, x + reach] for each tap of a phase; taps: where in ``products`` its sums begin."""
    for phase in range(phases):
        begin, end = entry(starts, phase), entry(starts, phase + 1)
        for x in range(0, width, tile.lanes):
            place = plane + (phase * width + x)
            total = load_first(place, tile.lanes)
            for t in range(begin, end):
                total = total + load_first(products + (entry(taps, t) + x), tile.lanes)
            store(place, total)


@jit
def write_row(tile, planes, elements, out, length):
    """out[to] = planes[from] for the ``elements`` (from, to) of a row; if there are none, ``length`` elements as they are."""
    if not elements.shape[0]:
        copy(tile, planes, out, length)
    table = pointer(tile, elements, 0)
    for i in range(elements.shape[0]):
        out[entry(table, 2 * i + 1)] = planes[entry(table, 2 * i)]


@jit
def add_share(tile, panels, tables, extents, window, pitches, strides, operands, buffers, thread, threads):
    """The pieces of images that are this thread's.

    tables: vectors, taps, starts; extents: groups, images, pieces of an image, H, W, P, rows of a piece, of a band;
    window: channels of a group, R, depth, vertical stride, dilation and padding, horizontal phases; pitches: of D, of a row of
    the gradient in it, of a row of a plane, rows of D; strides: of gradient and output, (image, row, column, channel) each
    """
    vectors, taps, starts = tables[0], pointer(tile, tables[1], 0), pointer(tile, tables[2], 0)
    groups, images, pieces, H, W, P, piece_rows, band_rows = extents
    channels, R, depth, down, gap, above, phases = window
    pitch, line, width, rows = pitches
    packed = pointer(tile, buffers[0], thread * buffers[0].shape[1])
    products = pointer(tile, buffers[1], thread * buffers[1].shape[1])
    planes = pointer(tile, buffers[2], thread * buffers[2].shape[1])
    tiles = (rows + tile.rows - 1) // tile.rows
    first_task, end_task = share(thread, threads, images * pieces * groups)
    for task in range(first_task, end_task):
        n, piece, g = task // (pieces * groups), task // groups % pieces, task % groups
        top = piece * piece_rows
        height = min(piece_rows, H - top)
        for i in range(0, channels * piece_rows * phases * width, tile.lanes):
            store(planes + i, nothing(planes))
        first = max(0, (top + above - (R - 1) * gap + down - 1) // down)
        end = min(P, (top + height - 1 + above) // down + 1)
        for p in range(first, end, band_rows):
            begin = min(p, P - band_rows)  # the last band reaches back: its first rows have been added
            source = pointer(tile, operands[0], n * strides[0] + begin * strides[1] + g * depth * strides[3])
            a = pointer(tile, panels, g * tiles * tile.rows * depth)
            shape = rows, depth, pitch
            multiply_pixels(tile, a, shape, source, (strides[2], strides[3]), vectors, vectors.shape[0], packed, products)
            for y in range(p, min(end, begin + band_rows)):
                for r in range(R):
                    place = y * down + r * gap - above - top
                    if 0 <= place < height:
                        for c in range(channels):
                            d = products + ((c * R + r) * (rows // channels // R) * pitch + (y - begin) * line)
                            add_row(tile, d, taps, starts, width, phases, planes + (c * piece_rows + place) * phases * width)
        target = pointer(tile, operands[1], n * strides[4] + top * strides[5] + g * channels * strides[7])
        for y in range(height):
            write_row(tile, planes + y * width * phases, tables[3], target + y * strides[5], W)


@threaded
def add_all(tile, panels, tables, extents, window, pitches, strides, operands, buffers, threads):
    for thread in prange(threads):
        add_share(tile, panels, tables, extents, window, pitches, strides, operands, buffers, np.intp(thread), threads)


@serial
def pack_weights(tile, weight, strides, groups, depth, channels, R, S, panels):
    """panels[g, i, k, row] = weight[k, (c, r, s)], row i * rows + row; strides: of k, c, r, s in elements."""
    rows = channels * R * S
    tiles = (rows + tile.rows - 1) // tile.rows
    for g in range(groups):
        for row in range(rows):
            c, r, s = row // (R * S), row // S % R, row % S
            source = c * strides[1] + r * strides[2] + s * strides[3]
            target = (g * tiles + row // tile.rows) * depth * tile.rows + row % tile.rows
            for k in range(depth):
                panels[target + k * tile.rows] = weight[source + (g * depth + k) * strides[0]]


class BackwardInput:
    """A plan for the gradient with respect to the input.  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        _, horizontal = transposed_axes(problem)
        channels, depth = problem.C // problem.groups, problem.K // problem.groups
        self.rows = channels * problem.R * problem.S
        lanes = fitting(TILES, 1, problem.dtype).lanes
        across = -(-problem.Q // lanes)
        self.tile = tile or fitting(TILES, across * lanes, problem.dtype, self.rows)
        itemsize = self.tile.itemsize
        memory = caches()
        phases = problem.stride[1]
        width = even(-(-problem.W // phases), problem.W + lanes, lanes)
        reaches = [reach for phase in horizontal.taps for _, reach in phase]
        margin = max(0, -min(reaches))
        line = margin + max(problem.Q, width + max(reaches))
        line += -line % lanes
        most = max(1, memory.level2 // 2 // (self.rows * line * itemsize))
        band_rows = min(problem.P, most, max(1, BAND_VECTORS // across))
        pitch = apart(band_rows * line, problem.dtype)
        taps = [tap * pitch + margin + reach for phase in horizontal.taps for tap, reach in phase]
        starts = np.cumsum([0, *map(len, horizontal.taps)])
        vectors = vector_table(problem, self.tile, band_rows, margin, line)
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        piece_rows = max(1, memory.level2 // 2 // (channels * phases * width * itemsize))
        pieces = max(-(-problem.H // piece_rows), -(-threads // max(1, problem.N * problem.groups)))
        piece_rows = even(problem.H, -(-problem.H // pieces), 1)
        pieces = -(-problem.H // piece_rows)
        self.threads = max(1, min(threads, problem.N * pieces * problem.groups))
        self.extents = problem.groups, problem.N, pieces, problem.H, problem.W, problem.P, piece_rows, band_rows
        (above, _), _ = problem.padding
        self.window = channels, problem.R, depth, problem.stride[0], problem.dilation[0], above, phases
        self.pitches = pitch, line, width, self.rows
        gradient = image_strides(problem, problem.K, problem.P, problem.Q)
        self.strides = *gradient, *image_strides(problem, problem.C, problem.H, problem.W)
        planes = channels * piece_rows * phases * width
        sizes = depth * self.tile.columns, self.rows * pitch, planes
        plane = piece_rows * phases * width
        elements = row_table(problem, plane, width, self.strides[4:])
        self.tables = vectors, integer(taps, 1).ravel(), integer(starts, 1).ravel(), elements
        self.buffers = tuple(workspace(self.threads, size, problem.dtype) for size in sizes)
        self.workspace_bytes = sum(buffer.nbytes for buffer in self.buffers)

    def pack(self, weight, packed=None):
        """Panels of the weight, in the problem's layout and of any strides."""
        problem = self.problem
        depth, tiles = problem.K // problem.groups, -(-self.rows // self.tile.rows)
        if packed is None:
            packed = aligned(problem.groups * tiles * self.tile.rows * depth, problem.dtype)
        line, strides = flat(weight)
        order = (0, 1, 2, 3) if problem.layout == "NCHW" else (3, 2, 0, 1)
        channels = problem.C // problem.groups
        strides = tuple(strides[axis] for axis in order)
        pack_weights(self.tile, line, strides, problem.groups, depth, channels, problem.R, problem.S, packed)
        return packed

    def __call__(self, grad_output, packed, out):
        """Write the gradient of x's shape for ``grad_output`` into ``out``; all C-contiguous, in the problem's layout."""
        operands = grad_output.reshape(-1), out.reshape(-1)
        rest = self.window, self.pitches, self.strides, operands, self.buffers, self.threads
        add_all(self.tile, packed, self.tables, self.extents, *rest)
        return out


BAND_VECTORS = 24
"""Vectors of pixels in a band: so many fill the tiles well, and their sums still fit in the second cache."""


def vector_table(problem, tile, rows, margin, line):
    """(tiles, 3, vectors): each vector's first pixel in a band of the gradient, its place in a row of D, its pixels."""
    p, q = (axis.ravel() for axis in np.mgrid[:rows, : problem.Q : tile.lanes])
    vectors = np.zeros((3, -(-p.size // tile.vectors) * tile.vectors), np.intp)
    vectors[:, : p.size] = p * problem.Q + q, p * line + margin + q, np.minimum(tile.lanes, problem.Q - q)
    return np.ascontiguousarray(vectors.reshape(3, -1, tile.vectors).swapaxes(0, 1))


def row_table(problem, plane, width, strides):
    """(elements, 2): where each element of a row of all channels is in the planes and in the output; none for a row as it is.

    plane: elements in a plane; width: in a phase of a row; strides: of the output
    """
    channels, phases = problem.C // problem.groups, problem.stride[1]
    if (channels, phases) == (1, 1) and strides[2] == 1:
        return integer([], 2)
    x, c = np.mgrid[: problem.W, :channels]
    elements = np.stack([c * plane + x % phases * width + x // phases, x * strides[2] + c * strides[3]], -1).reshape(-1, 2)
    return np.ascontiguousarray(elements[elements[:, 1].argsort()])


def image_strides(problem, channels, rows, columns):
    """(image, row, column, channel): elements from one to the next."""
    if problem.layout == "NCHW":
        return channels * rows * columns, columns, 1, rows * columns
    return rows * columns * channels, columns * channels, channels, 1


AHEAD = 2
"""How many vectors of pixels before they are packed they are brought nearer."""

"""Implicit matrix product, the gradient of the weight: the transposed matrix of windows times the gradient (NHWC).

    grad_weight[(r, s, c), k] = sum over images, pixels of x[window(pixel) + (r, s, c)] * grad_output[pixel, k]

The sum runs over pixels, block by block: some channels of one tap, side by side in a pixel of the image, are the rows of A;
channels of the gradient, packed once a block, are the columns of B.  A tap that reaches beyond the image leaves out the
pixels where it does.  Images of few channels are copied into frames of zeros, where the taps of a row are side by side and
count as one tap.

The weight is cut into pieces that stay in the second cache while all pixels pass through; where these are few, the pixels are
divided into *parts*, whose sums are kept apart and added in order at the end.  Pieces and parts depend on the problem alone,
so that any number of threads gives the same bits.

Sources: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, for the implicit matrix; Goto & van de Geijn,
"Anatomy of High-Performance Matrix Multiplication", 2008, for the blocks.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block, panel
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry, load_first, prefetch, store
from ..cpu.sums import add_parts
from ..cpu.tile import add_tile, fitting, load_tile, pointer, prefetch_tile, rank1, store_tile, zero
from ..cpu.workspace import apart, caches, even, workspace
from .frame_cpu import copy, frame_band
from .geometry import integer, pixels_as_rows

TILES = (14, 2), (9, 3), (8, 3), (6, 4), (11, 2), (9, 2), (8, 2), (7, 2), (14, 1), (10, 1), (6, 2), (4, 3), (3, 2), (5, 1)
"""(rows, vectors): tall ones for long rows of channels, low ones for the taps of a row of images of few channels."""

FEW_CHANNELS = 8
"""With fewer channels images are framed."""

FEW_COLUMNS = 96
"""With at least so many columns it pays to copy the channels of a block next to each other."""

PIECE_ROWS, PIECE_COLUMNS = 256, 256
"""The largest piece of the weight."""

PIXELS = 384
"""The most pixels in a block: more are not needed to hide the loads and stores of the sums."""

PARTS = 16
"""The most parts, and pieces where there are parts: as many as there are threads to use them on common machines."""

AHEAD = 8
"""How many pixels before it is copied one is brought nearer."""

IN_PLACE, LAST_COPIED, COPIED, FRAMED = range(4)
"""How the blocks of the images are read: where they are, the last excepted, from copies of channels, or from frames."""


@inlined
def add_pixels(tile, total, a, b, sources, targets, count, ahead):
    """total + the products of ``count`` pixels: A at ``sources``, B at ``targets``; what comes ``ahead`` is brought nearer."""
    for p in range(count):
        pixel = a + entry(sources, p)
        prefetch(pixel + ahead)
        total = rank1(total, pixel, panel(tile, b + entry(targets, p)))
    return total


@inlined
def add_to(tile, total, place, first):
    """The tile at ``place`` (+)= total."""
    if not first:
        total = add_tile(total, load_tile(tile, place))
    store_tile(total, place)


@inlined
def copy_ahead(tile, source, distance, count, target):
    """target[0:count] = source[0:count], and up to a vector more is written; what comes ``distance`` later is brought nearer.

    Whole vectors are loaded without a mask: behind masks this machine's prefetcher stands still.
    """
    whole = count // tile.lanes * tile.lanes
    for i in range(0, whole, tile.lanes):
        prefetch(source + (distance + i))
        store(target + i, load_first(source + i, tile.lanes))
    if whole < count:
        prefetch(source + (distance + whole))
        store(target + whole, load_first(source + whole, count - whole))


@inlined
def pack_columns(tile, source, pitch, columns, count, packed):
    """Panels of ``tile.columns`` columns: packed[panel, p, column] for ``count`` pixels p; unspecified beyond the last."""
    for p in range(count):
        row, target = source + p * pitch, packed + p * tile.columns
        for j in range(0, columns, tile.columns):
            copy_ahead(tile, row + j, AHEAD * pitch, min(tile.columns, columns - j), target)
            target = target + count * tile.columns


@jit
def add_block(tile, tables, piece, shape, pixels, source, gradient, buffer, sums, first):
    """sums (+)= the products of one block of pixels, for one piece of the weight.

    tables: places, targets, taps, tiles (``Tables``); piece: tiles from, to, columns from, to, and the row of the weight that
    is the first of a copy, or -1; shape: (pixels, columns of the group, columns of all groups); pixels: (images, first row,
    rows, from image to image in the source and in the panel, to the next block); source, gradient, buffer, sums: pointers;
    first: whether ``sums`` is to be overwritten
    """
    places, targets, taps, tiles = (  # pointers: an array handed on is counted, which takes longer than some tiles
        pointer(tile, tables[0], 0),
        pointer(tile, tables[1], 0),
        pointer(tile, tables[2], 0),
        pointer(tile, tables[3], 0),
    )
    first_tile, end_tile, left, right, origin = piece
    count, width, pitch = shape
    images, top, rows, image, image_pixels, ahead = pixels
    packs = pitch > tile.columns or width < tile.columns
    if packs:
        pack_columns(tile, gradient + left, pitch, right - left, count, buffer)
    for j in range(left, right, tile.columns):
        b = buffer + (j - left) * count if packs else gradient
        for t in range(first_tile, end_tile):
            numbers = tiles + t * TILE_NUMBERS
            channel, row, height = numbers[1], numbers[2], numbers[3]
            tap = taps + numbers[0] * TAP_NUMBERS
            offset, begin, line, low, high = tap[0], tap[1], tap[2], tap[3], tap[4]
            base = sums + (row * pitch + j)
            place = block(tile, base, pitch, height, width - j)
            prefetch_tile(place)
            a, total = source + (offset + channel if origin < 0 else row - origin), zero(tile)
            start, steps = begin + max(0, low - top) * line, (min(high - top, rows) - max(0, low - top)) * line
            for n in range(images):
                panels = b + n * image_pixels * tile.columns
                total = add_pixels(tile, total, a + n * image, panels, places + start, targets + start, steps, ahead)
            if height >= tile.rows and width - j >= tile.columns:  # whole: stores without masks are faster
                add_to(tile, total, block(tile, base, pitch, tile.rows, tile.columns), first)
            else:
                add_to(tile, total, place, first)


@jit
def copy_rows(tile, tables, rows_of_piece, channels, pixels, pitch, source, image, target):
    """target[pixel, row] for the rows of a piece of the weight: some channels of the image for each tap.

    rows_of_piece: (from, to); pixels: (images, first row, rows, pixels of an image)
    """
    sources, places, taps = tables
    first_row, end_row = rows_of_piece
    images, top, rows, image_pixels = pixels
    row = first_row
    while row < end_row:
        tap = row // channels
        channel = row - tap * channels
        count = min(channels - channel, end_row - row)
        offset, begin, line, low, high = taps[tap]
        end = begin + max(0, min(high - top, rows)) * line
        begin += max(0, low - top) * line
        for n in range(images):
            for p in range(begin, end):
                later = sources[min(p + AHEAD, end - 1)] - sources[p]
                pixel = source + (n * image + offset + channel + sources[p])
                place = target + (n * image_pixels * pitch + places[p] + row - first_row)
                copy_ahead(tile, pixel, later, count, place)
        row += count


@jit
def add_share(tile, tables, cuts, extents, framing, operands, buffers, thread, threads):
    """The pieces of the weight and the parts of the pixels that are this thread's.

    cuts: parts, pieces down, pieces across, columns in a piece, images and rows in a block; extents: groups, N, H, W, C, P, Q,
    K, vertical stride, rows of the weight of a group; framing: how images are read, padding above and on the left, (height,
    width) of frames, or pitch of copied rows
    """
    groups, N, H, W, C, P, Q, K, down, size = extents
    parts, pieces_down, pieces_across, step, most_images, most_rows = cuts
    copies, above, beside, height, width = framing
    copied = pointer(tile, buffers[0], thread * buffers[0].shape[1])
    packed = pointer(tile, buffers[1], thread * buffers[1].shape[1])
    bands = (P + most_rows - 1) // most_rows
    blocks = (N + most_images - 1) // most_images * bands
    pieces = pieces_down * pieces_across
    first_item, end_item = share(thread, threads, parts * groups * pieces)
    for item in range(first_item, end_item):
        part, g, piece = item // (groups * pieces), item // pieces % groups, item % pieces
        first_tile, end_tile = share(piece // pieces_across, pieces_down, tables[4].shape[0])
        left = piece % pieces_across * step
        first_row, last = tables[4][first_tile, 2], tables[4][end_tile - 1]
        sums = pointer(tile, operands[2], part * size * K + g * (K // groups))
        begin, stop = share(part, parts, blocks)
        for index in range(begin, stop):
            n, top = index // bands * most_images, index % bands * most_rows
            images, rows = min(most_images, N - n), min(most_rows, P - top)
            gradient = pointer(tile, operands[0], (n * P + top) * Q * K + g * (K // groups))
            x, image, origin = pointer(tile, operands[1], n * H * W * C), H * W * C, -1
            ahead = images * image if bands == 1 else rows * down * W * C
            channel = g * (C // groups)
            source = x + (top * down * W * C + channel)
            if copies == FRAMED:
                for i in range(images):
                    frame = copied + i * height * width * C
                    frame_band(tile, x + i * image, (H, W, C), top * down - above, -beside, height, width, frame)
                source, image, ahead = copied, height * width * C, 0
            elif copies == COPIED:
                pixels = images, top, rows, rows * Q
                rest = (first_row, last[2] + last[3]), C // groups, pixels, width, source, image, copied
                copy_rows(tile, (tables[0], tables[1], tables[3]), *rest)
                source, image, origin, ahead = copied, rows * Q * width, first_row, 0
            elif copies == LAST_COPIED and index + 1 == blocks:  # a last tile reads beyond the last channel
                start = max(0, top * down - above) * W * C
                copy(tile, x + start, copied, images * image - start)
                source = copied + (top * down * W * C + channel - start)
            pixels = images, top, rows, image, rows * Q, ahead
            shape = images * rows * Q, K // groups, K
            columns = first_tile, end_tile, left, min(left + step, K // groups), origin
            add_block(tile, tables[1:], columns, shape, pixels, source, gradient, packed, sums, index == begin)


@threaded
def add_all(tile, tables, cuts, extents, framing, operands, buffers, threads):
    for thread in prange(threads):
        add_share(tile, tables, cuts, extents, framing, operands, buffers, np.intp(thread), threads)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (R, S, C / groups, K).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        whole = pixels_as_rows(problem)
        channels, width = whole.C // whole.groups, whole.K // whole.groups
        few = whole.groups == 1 and channels < FEW_CHANNELS and whole.S > 1 and whole.dilation[1] == 1
        run = whole.S * channels if few else channels
        self.tile = tile or fitting(TILES, width, whole.dtype, run)
        mode = FRAMED if few else COPIED if width >= FEW_COLUMNS else LAST_COPIED if run % self.tile.rows else IN_PLACE
        step, piece_rows, images, rows = block_sizes(whole, self.tile, run, width, mode == COPIED)
        height, pitch = frame_extent(whole, rows) if few else (0, 0)
        if mode == COPIED:  # a tile reads, and a copy writes, a little more than there is
            pitch = apart(min(piece_rows, whole.depth) + max(self.tile.rows, self.tile.lanes), whole.dtype)
        self.tables = tables_of_frames(whole, self.tile, rows) if few else tables_of_images(whole, self.tile, rows, pitch)
        pieces_down = -(-len(self.tables.tiles) // (piece_rows // self.tile.rows))
        pieces_across = -(-width // step)
        items = whole.groups * pieces_down * pieces_across
        parts = max(1, min(PARTS // items, -(-whole.N // images) * -(-whole.P // rows) // 2))
        self.cuts = parts, pieces_down, pieces_across, step, images, rows
        self.threads = max(1, min(threads_for(threads, whole.flops, THREAD_FLOPS), parts * items))
        extents = whole.N, whole.H, whole.W, whole.C, whole.P, whole.Q, whole.K
        self.extents = whole.groups, *extents, whole.stride[0], whole.depth
        (above, _), (beside, _) = whole.padding
        self.framing = mode, above, beside, height, pitch
        pixels = images * rows * whole.Q
        above_last = max(0, (whole.P - 1) // rows * rows * whole.stride[0] - above)
        last = (images * whole.H - above_last) * whole.W * whole.C
        copied = (0, last, pixels * pitch, images * height * pitch * whole.C)[mode] + self.tile.rows
        sizes = copied, pixels * -(-step // self.tile.columns) * self.tile.columns
        self.buffers = tuple(workspace(self.threads, size, whole.dtype) for size in sizes)
        self.sums = np.zeros((parts if parts > 1 else 0, whole.depth * whole.K), whole.dtype)
        self.workspace_bytes = sum(buffer.nbytes for buffer in self.buffers) + self.sums.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, S, C / groups, K) into ``out``, for grad_output (N, P, Q, K) and x (N, H, W, C)."""
        if not self.problem.N:
            out[...] = 0
            return out
        sums = self.sums if len(self.sums) else out
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1)
        add_all(self.tile, tuple(self.tables), self.cuts, self.extents, self.framing, operands, self.buffers, self.threads)
        if len(self.sums):
            add_parts(self.sums, out.reshape(-1))
        return out


TAP_NUMBERS, TILE_NUMBERS = 5, 4
"""Columns of the tables of taps and tiles."""


class Tables(NamedTuple):
    """What the products read, of 64-bit integers, offsets in elements.

    sources, places, targets : (entries,) offsets of a pixel in the image, where A is and in the packed gradient, for a block
    taps : (taps, 5) offset in the image, first entry, entries for each row, the rows of the gradient from, to where it exists
    tiles : (tiles, 4) tap, channel, row of the weight, rows that exist
    """

    sources: np.ndarray
    places: np.ndarray
    targets: np.ndarray
    taps: np.ndarray
    tiles: np.ndarray


def tables_of_images(problem, tile, rows, row_pitch):
    """The tables for images where they are: each tap visits the pixels at which it lies in the image."""
    (down, across), (gap_down, gap_across) = problem.stride, problem.dilation
    (above, _), (beside, _) = problem.padding
    pitch, channels = problem.W * problem.C, problem.C // problem.groups
    sources, targets, columns = [], [], []
    for s in range(problem.S):
        low, high = inside(problem.W, problem.Q, across, s * gap_across - beside)
        p, q = np.mgrid[:rows, low:high]
        columns.append((sum(map(len, sources)), high - low))
        sources.append((p * down * pitch + (q * across + s * gap_across - beside) * problem.C).ravel())
        targets.append(((p * problem.Q + q) * tile.columns).ravel())
    taps = []
    for r in range(problem.R):
        low, high = inside(problem.H, problem.P, down, r * gap_down - above)
        taps += [((r * gap_down - above) * pitch, first, line, low, high) for first, line in columns]
    sources, targets = np.concatenate(sources), np.concatenate(targets)
    places = targets // tile.columns * row_pitch if row_pitch else sources
    return Tables(sources, places, targets, integer(taps, 5), tile_table(tile, len(taps), channels))


def tables_of_frames(problem, tile, rows):
    """The tables for frames, in which the taps of a row are side by side: one tap for each row, of many channels."""
    width, run = frame_extent(problem, rows)[1], problem.S * problem.C
    p, q = np.mgrid[:rows, : problem.Q]
    places = ((p * problem.stride[0] * width + q * problem.stride[1]) * problem.C).ravel()
    taps = [(r * problem.dilation[0] * width * problem.C, 0, problem.Q, 0, problem.P) for r in range(problem.R)]
    targets = np.arange(rows * problem.Q) * tile.columns
    return Tables(places, places, targets, integer(taps, 5), tile_table(tile, problem.R, run))


def tile_table(tile, taps, channels):
    """(tap, channel, row of the weight, rows that exist) of every tile."""
    starts = range(0, channels, tile.rows)
    return integer([(t, c, t * channels + c, min(tile.rows, channels - c)) for t in range(taps) for c in starts], 4)


def inside(source, target, stride, reach):
    """The (first, end) of ``target`` pixels i at which stride * i + reach is one of ``source`` pixels."""
    first = min(target, max(0, -(reach // stride)))
    return first, max(first, min(target, (source - 1 - reach) // stride + 1))


def frame_extent(problem, rows):
    """(height, width) of the frame of some rows of the gradient."""
    return tuple(
        (target - 1) * stride + (kernel - 1) * dilation + 1
        for target, stride, kernel, dilation in zip(
            (rows, problem.Q), problem.stride, (problem.R, problem.S), problem.dilation, strict=True
        )
    )


def block_sizes(problem, tile, run, width, copies):
    """Of a piece of the weight: columns, rows; of a block of pixels: images, rows."""
    memory = caches()
    step = even(width, PIECE_COLUMNS, tile.columns)
    piece_rows = min(PIECE_ROWS, memory.level2 // 4 // (step * tile.itemsize))
    piece_rows = max(tile.rows, piece_rows // tile.rows * tile.rows)
    source_bytes, panel_bytes = min(run, piece_rows) * tile.itemsize, tile.columns * tile.itemsize
    if copies:  # both operands stay in the second cache, the more pixels the fewer loads and stores of sums
        pixels = min(PIXELS, memory.level2 // 4 // (step * tile.itemsize), memory.level2 * 3 // 8 // source_bytes)
    else:  # a panel of the gradient stays in the first
        pixels = min(memory.level1 * 2 // 3 // panel_bytes, memory.level2 // 4 // source_bytes)
    if pixels < problem.P * problem.Q:
        return step, piece_rows, 1, even(problem.P, pixels // problem.Q, 1)
    return step, piece_rows, even(problem.N, pixels // (problem.P * problem.Q), 1), problem.P

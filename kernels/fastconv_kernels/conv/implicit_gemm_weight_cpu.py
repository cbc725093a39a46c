"""Implicit matrix product, the gradient of the weight: the transposed matrix of windows times the gradient.

    grad_weight[(r, s, c), k] = sum over images, pixels of x[window(pixel) + (r, s, c)] * grad_output[pixel, k]

The sum runs over pixels, block by block: some channels of one tap, side by side in a pixel of the image, are the rows of A;
channels of the gradient, packed once a block, are the columns of B.  A tap that reaches beyond the image leaves out the
pixels where it does.  Images of few channels, and groups of few among many, are copied into frames of zeros, where the taps of
a row are side by side and count as one tap; images may be planes, NCHW, which are transposed in registers on the way.

The weight is cut into pieces that stay in the second cache while all pixels pass through; where these are few, the pixels are
divided into *parts*, whose sums are kept apart and added in order at the end.  Pieces and parts depend on the problem alone,
so that any number of threads gives the same bits; of parts, or of pieces, there is a power of two, as there is of threads.

Sources: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, for the implicit matrix; Goto & van de Geijn,
"Anatomy of High-Performance Matrix Multiplication", 2008, for the blocks.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block, panel
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import entry, prefetch_further
from ..cpu.sums import add_parts
from ..cpu.tile import add_tile, fitting, load_tile, pointer, prefetch_tile, rank1, store_tile, zero
from ..cpu.workspace import LINE_BYTES, apart, far_caches, workspace
from .frame_cpu import bring_runs, copy, frame_group
from .geometry import pixels_as_rows, upright
from .planes_cpu import frame_planes, gather_pixels, turn_weight
from .weight_cuts import asks_of_frames, cuts_of, frames_groups, groups_together, tiles_for
from .weight_panels_cpu import asked_in, coming, copy_rows, line_after, pack_columns
from .weight_tables import TAP_NUMBERS, TILE_NUMBERS, frame_extent, tables_of_frames, tables_of_images

FEW_CHANNELS = 8
"""With fewer channels images are framed."""

WAY_BYTES = 4096
"""Pixels so far apart fall on the same few lines of a cache: then their channels are copied next to each other.

With 1024 and 2048 channels 1.15 times as fast as where they are, with 512 and less 0.92 to 1.0 times; with a stride of 2 never
slower than 0.95 times, and up to 1.4 times as fast.
"""

FEW_COLUMNS = 16
"""Columns of a group that are not worth copies of channels, which these few alone would meet.

On a Granite Rapids 32 groups of 8 and 8 channels, 56x56 with a stride of 2, took 0.57 of the time without.
"""

IN_PLACE, LAST_COPIED, COPIED, FRAMED, PLANES = range(5)
"""How blocks of images are read: where they are, the last excepted, from copies of channels, or from frames, of planes too."""


@inlined
def add_pixels(tile, total, a, b, sources, targets, count, asked):
    """total + the products of ``count`` pixels: A at ``sources``, B's rows at ``targets``; ``asked``: see ``asked_in``."""
    asks, side, pixel, offset = asked
    for p in range(asks):
        prefetch_further(side[0] + (entry(side[1], pixel) * side[2] + offset))
        pixel, offset = line_after(pixel, offset, side)
        total = rank1(total, a + entry(sources, p), panel(tile, b + entry(targets, p) * tile.columns))
    for p in range(asks, count):
        total = rank1(total, a + entry(sources, p), panel(tile, b + entry(targets, p) * tile.columns))
    return total


@inlined
def add_to(tile, total, place, first):
    """The tile at ``place`` (+)= total."""
    if not first:
        total = add_tile(total, load_tile(tile, place))
    store_tile(total, place)


@jit
def add_panel(tile, tables, piece, shape, pixels, j, source, b, sums, first):
    """sums (+)= the products of one block of pixels with the columns from ``j`` on, ``b``; the parameters of ``add_block``."""
    places, targets, taps, tiles = tables
    first_tile, end_tile, left, right, panel_size, later = piece
    stack, across = end_tile - first_tile, min(tile.columns, right - j)
    _, width, pitch, _ = shape
    images, top, rows, image, image_pixels = pixels
    for t in range(first_tile, end_tile):
        numbers = tiles + t * TILE_NUMBERS
        channel, row, height = numbers[1], numbers[2], numbers[3]
        tap = taps + numbers[0] * TAP_NUMBERS
        offset, begin, line, low, high = tap[0], tap[1], tap[2], tap[3], tap[4]
        base = sums + (row * pitch + j)
        place = block(tile, base, pitch, height, width - j)
        prefetch_tile(place)
        a, total = source + ((t - first_tile) * panel_size if panel_size else offset + channel), zero(tile)
        start, steps = begin + max(0, low - top) * line, (min(high - top, rows) - max(0, low - top)) * line
        before = (j - left) * stack + (t - first_tile) * across
        asked = asked_in(before, before + across, (right - left) * stack, steps, later)
        for n in range(images):
            panels = b + n * image_pixels * tile.columns
            total = add_pixels(tile, total, a + n * image, panels, places + start, targets + start, steps, asked)
        if height >= tile.rows and width - j >= tile.columns:  # whole: stores without masks are faster
            add_to(tile, total, block(tile, base, pitch, tile.rows, tile.columns), first)
        else:
            add_to(tile, total, place, first)


@jit
def add_columns(tile, tables, piece, shape, pixels, j, source, gradient, buffer, sums, first):
    """``add_panel``, the panel packed if it must be; the parameters of ``add_block``."""
    count, _, pitch, plane = shape
    images, image_pixels, width = pixels[0], pixels[4], min(tile.columns, piece[3] - j)
    panels = buffer
    if plane:
        for n in range(images):
            planes = gradient + (n * pitch + j) * plane
            gather_pixels(tile, planes, plane, width, image_pixels, buffer + n * image_pixels * tile.columns, tile.columns)
    elif pitch == tile.columns:
        panels = gradient
    else:
        pack_columns(tile, gradient + j, pitch, width, count, buffer)
    add_panel(tile, tables, piece, shape, pixels, j, source, panels, sums, first)


@jit
def add_block(tile, narrow, tables, piece, shape, pixels, source, gradient, buffer, sums, first):
    """sums (+)= the products of one block of pixels, for one piece of the weight.

    narrow: the tile of the last columns; tables: pointers to places, targets, taps, tiles (``Tables``); piece: tiles from, to,
    columns from, to, from one panel of copied channels to the next, or 0, what is asked for (``asked_in``); shape: (pixels,
    columns of the group, columns of all groups, elements of a plane of the gradient or 0); pixels: (images, first row, rows,
    from image to image in the source and in the panel); source, gradient, buffer, sums: pointers; first: whether ``sums`` is
    to be overwritten
    """
    _, _, left, right, _, _ = piece
    whole = left + (right - left) // tile.columns * tile.columns
    for j in range(left, whole, tile.columns):
        add_columns(tile, tables, piece, shape, pixels, j, source, gradient, buffer, sums, first)
    if whole < right:
        add_columns(narrow, tables, piece, shape, pixels, whole, source, gradient, buffer, sums, first)


@jit
def add_share(tile, narrow, tables, cuts, extents, framing, operands, buffers, thread, threads):
    """The pieces of the weight and the parts of the pixels that are this thread's.

    cuts: ``Cuts``; extents: groups, N, H, W, C, P, Q, K, vertical stride, rows of the weight of a group; framing: how images
    are read, padding above and on the left, (height, width) of frames, or pitch of copied rows, whether all groups meet a
    block of pixels before the next one, elements of a line if the next block is asked for
    """
    groups, N, H, W, C, P, Q, K, down, size = extents
    parts, pieces_down, pieces_across, step, bands, most_images, most_rows = cuts
    copies, above, beside, height, width, together, line = framing
    copied = pointer(tile, buffers[0], thread * buffers[0].shape[1])
    packed = pointer(tile, buffers[1], thread * buffers[1].shape[1])
    pieces, plane = pieces_down * pieces_across, P * Q if copies == PLANES else 0
    # Addresses before the loop: an array used in it would count its references, which takes longer than some tiles.
    gradients, inputs, results = pointer(tile, operands[0], 0), pointer(tile, operands[1], 0), pointer(tile, operands[2], 0)
    places, targets, tiles = pointer(tile, tables[1], 0), pointer(tile, tables[2], 0), tables[4].shape[0]
    depth = C // groups
    origins, numbers = pointer(tile, tables[0], 0), (places, targets, pointer(tile, tables[3], 0), pointer(tile, tables[4], 0))
    item, end_item = share(thread, threads, parts * groups * pieces)
    while item < end_item:
        part, last = item // (groups * pieces), item + 1
        if together:
            last = min(end_item, (part + 1) * groups * pieces)
        begin, stop = share(part, parts, N * bands)
        index = begin
        while index < stop:
            images, rows = min(most_images, stop - index), min(most_rows, P - index % bands * most_rows)
            if together and copies == FRAMED:
                n, top = index // bands, index % bands * most_rows
                first, some = item // pieces % groups, (last - 1) // pieces % groups - item // pieces % groups + 1
                begins = gradients + ((n * P + top) * Q * K + first * (K // groups))
                bring_runs(tile, begins, some * (K // groups), K, images * rows * Q)
                begins = inputs + ((n * H + top * down) * W * C + first * depth)
                bring_runs(tile, begins, some * depth, C, ((images - 1) * H + min(rows * down, H - top * down)) * W)
            for each in range(item, last):
                n, top = index // bands, index % bands * most_rows
                g, piece = each // pieces % groups, each % pieces
                first_tile, end_tile = share(piece // pieces_across, pieces_down, tiles)
                left = piece % pieces_across * step
                sums = results + (part * size * K + g * (K // groups))
                gradient = gradients + (n * P * Q * K + top * Q * (1 if plane else K) + g * (K // groups))
                x, image, panel_size = inputs + n * H * W * C, H * W * C, 0
                channel = g * depth
                source = x + (top * down * W * C + channel)
                if copies >= FRAMED:
                    framed = height * width * depth
                    for i in range(images if piece == 0 or each == item else 0):
                        frame, place = copied + i * framed, (top * down - above, -beside, height, width)
                        if plane:
                            frame_planes(tile, x + i * image, (H, W, C), *place, frame)
                        else:
                            frame_group(tile, x + (i * image + channel), (H, W, C, depth), *place, frame)
                    source, image = copied, framed
                elif copies == COPIED:
                    pixels = images, top, rows, rows * Q, width
                    about = (tables[0], tables[1], tables[3], tables[4]), (first_tile, end_tile), depth, pixels
                    copy_rows(tile, *about, source, image, copied)
                    source, image, panel_size = copied, rows * Q * tile.rows, width
                elif copies == LAST_COPIED and index + images == N * bands:  # a last tile reads beyond the last channel
                    start = max(0, top * down - above) * W * C
                    copy(tile, x + start, copied, images * image - start)
                    source = copied + (top * down * W * C + channel - start)
                pixels, right = (images, top, rows, image, rows * Q), min(left + step, K // groups)
                asks = index + images < stop or (groups * pieces == 1 and last < end_item)
                n, top = (index + images) // bands, (index + images) % bands * most_rows
                low, high = first_tile * tile.rows, min(end_tile * tile.rows, depth)
                begins, run = inputs + ((n * H + top * down) * W * C + channel + low), 0 if copies >= FRAMED else high - low
                along = g * (K // groups) + left, right - left, K
                count, side = coming(gradients + n * P * Q * K, numbers[1], (top, P, Q, most_rows), along, plane)
                later = count if asks else 0, line, (begins, origins, 1, run), side
                shape = images * rows * Q, K // groups, K, plane
                columns = first_tile, end_tile, left, right, panel_size, later
                add_block(tile, narrow, numbers, columns, shape, pixels, source, gradient, packed, sums, index == begin)
            index += images
        item = last


@threaded
def add_all(tile, narrow, tables, cuts, extents, framing, operands, buffers, threads):
    for thread in prange(threads):
        add_share(tile, narrow, tables, cuts, extents, framing, operands, buffers, np.intp(thread), threads)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (R, S, C / groups, K).  One call at a time."""

    def __init__(self, problem, threads=1, tile=None):
        self.problem = problem
        few, self.planes = of_few_channels(problem) or frames_groups(problem), problem.layout == "NCHW"
        whole = pixels_as_rows(problem) if few or self.planes else upright(pixels_as_rows(problem))
        channels, width = whole.C // whole.groups, whole.K // whole.groups
        run = whole.S * channels if few else channels
        self.tile = tile or fitting(tiles_for(whole, width, run if few else 0), width, whole.dtype, run, narrows=True)
        self.narrow = self.tile.of_last(width)
        if few:
            mode = PLANES if self.planes else FRAMED
        elif copies_channels(whole, width):
            mode = COPIED
        else:
            mode = LAST_COPIED if run % self.tile.rows else IN_PLACE
        tiles = -(-run // self.tile.rows) * (whole.R if few else whole.R * whole.S)
        asks = far_caches() and whole.R * whole.S == 1 and not any(map(any, whole.padding)) and not self.planes
        self.cuts = cuts_of(whole, self.tile, tiles, run, few, asks)
        parts, pieces_down, pieces_across, _, _, images, rows = self.cuts
        height, pitch = frame_extent(whole, rows) if few else (0, 0)
        if mode == COPIED:  # a copy writes a vector beyond what there is
            pitch = apart(images * rows * whole.Q * self.tile.rows + self.tile.lanes, whole.dtype)
        cut = whole, self.tile, rows
        self.tables = tables_of_frames(*cut) if few else tables_of_images(*cut, mode == COPIED)
        items = parts * whole.groups * pieces_down * pieces_across
        self.threads = min(threads_for(threads, whole.flops, THREAD_FLOPS), items)
        extents = whole.N, whole.H, whole.W, whole.C, whole.P, whole.Q, whole.K
        self.extents = whole.groups, *extents, whole.stride[0], whole.depth
        (above, _), (beside, _) = whole.padding
        asks = asks or (few and whole.groups == 1 and asks_of_frames(whole, self.tile))
        line = LINE_BYTES // self.tile.itemsize if asks else 0
        self.framing = mode, above, beside, height, pitch, groups_together(whole), line
        pixels = images * rows * whole.Q
        above_last = max(0, (whole.P - 1) // rows * rows * whole.stride[0] - above)
        last = (images * whole.H - above_last) * whole.W * whole.C
        copied = (0, last, -(-tiles // pieces_down) * pitch, *[images * height * pitch * channels] * 2)[mode] + self.tile.rows
        sizes = copied, pixels * self.tile.columns + self.tile.lanes
        self.buffers = tuple(workspace(self.threads, size, whole.dtype) for size in sizes)
        self.sums = np.zeros((parts if parts > 1 or self.planes else 0, whole.depth * whole.K), whole.dtype)
        self.workspace_bytes = sum(buffer.nbytes for buffer in self.buffers) + self.sums.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, S, C / groups, K) into ``out``, for grad_output (N, P, Q, K) and x (N, H, W, C).

        For a problem in NCHW (K, C, R, S), (N, K, P, Q) and (N, C, H, W).
        """
        if not self.problem.N:
            out[...] = 0
            return out
        sums = self.sums if len(self.sums) else out
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1)
        about = tuple(self.tables), tuple(self.cuts), self.extents, self.framing
        add_all(self.tile, self.narrow, *about, operands, self.buffers, self.threads)
        if self.planes:
            if len(self.sums) > 1:
                add_parts(self.sums, self.sums[0], self.threads)
            shape = out.shape[2] * out.shape[3], out.shape[1], out.shape[0]
            turn_weight(self.tile, self.sums[0], out.reshape(-1), shape, self.threads)
        elif len(self.sums):
            add_parts(self.sums, out.reshape(-1), self.threads)
        return out


def copies_channels(problem, width):
    """Whether channels of the image are copied next to each other, for ``width`` columns."""
    if problem.groups > 1 and width <= FEW_COLUMNS:
        return False
    apart_by = problem.stride[1] * problem.C * np.dtype(problem.dtype).itemsize
    return problem.stride[1] > 1 or apart_by % WAY_BYTES == 0


def of_few_channels(problem):
    """Whether images are framed: then they may also be planes."""
    few = problem.C // problem.groups < FEW_CHANNELS and problem.groups == 1
    return few and problem.S > 1 and problem.dilation[1] == 1

"""Depthwise convolution, the gradient of the weight: rows of pixels times rows of gradients, channel by channel (NHWC).

    grad_weight[r, s, k] = sum over images, p, q of x[p * stride + r - top, q * stride + s - left, k] * grad_output[p, q, k]

The sums of some rows of taps stay in registers from row to row of gradients: a gradient is loaded once for all of them, a
pixel once for all the taps of a row that it meets.  The images are read where they are, and divided into *parts* whose sums
are kept apart and added in order at the end: how many there are depends on the problem alone, so that any number of threads
gives the same bits.

Source: Zhang, Lo & Lu, "High Performance Depthwise and Pointwise Convolutions on Mobile Devices", 2020.
"""

import numpy as np
from numba import prange

from ..cpu.compile import inlined, jit, threaded
from ..cpu.places import block
from ..cpu.share import THREAD_FLOPS, share, threads_for
from ..cpu.simd import prefetch_further
from ..cpu.sums import add_parts
from ..cpu.tile import Tile, add_tile, load_tile, pointer, store_tile, zero
from ..cpu.tile_rows import fold
from ..cpu.window import Window, fetch, slide_gradient, slide_gradient_at_edge
from ..cpu.workspace import caches, even
from .frame_cpu import bring, clear
from .geometry import forward_axes
from .walk import exceed_caches, goes_in_order, walk_of

PIXELS = 4
"""The most in a tile: with two vectors of 3 x 3 sums and of each they fit the registers.  A row's rest is a tile more."""

WHOLE_ROW = 7
"""Gradients of a row that are one tile nevertheless: a row that ends with another tile waits for memory twice.

Measured, 7 x 7 x 1024 and, with stride 2, 14 x 14 x 512: a tile of 7 takes 0.88 and 0.96 times as long as 4 and 3; longer
rows in tiles of 7 take between 0.9 and 1.2 times as long.
"""

CHAINS = 8
"""Sums under way at a time that keep the multipliers busy."""

SUMS = 16
"""The most taps whose sums are in registers at a time, beside the gradients of a tile; a row of taps is not divided."""

BLOCK = 128
"""The most channels at a time where rows are taken whole: the sums of a tile's channels stay in registers from row to row.

Measured, 14 x 14 x 512 and 7 x 7 x 1024, with and without stride: 32 and 512 channels take a tenth less to a fifth longer.
"""

STRIP = 16
"""Gradients of a row at a time where a band of rows is brought near: the pixels of three rows that they meet stay nearer.

Measured with stride 2, 16 x 112 x 112 x 64 and 16 x 56 x 56 x 128: bands brought near, strips of 16 take 0.93 and 0.86 times
as long as rows that are read when they are met, with whole rows for strips 1.05 and 0.91.  Two threads take 0.9 and 1.2 times
as long: the second, whose images nearly lie in the third cache, is not computed so.
"""

NEXT_SHARE = 0.125
"""Of the second cache: a band whose lines are asked for while the one before is computed, where images go in order.

Measured on a Granite Rapids, MobileNet's layers: twice as large 1.0 to 1.1 times as long, four times 1.2 to 1.5 times.
"""

MOST_TOGETHER = 1024
"""The most channels that go through the images together there: beyond, sums of each part would fill the second cache."""

GRADIENT_ROWS = 2
"""In the first cache beside the image's: this row's gradients and the next one's.

Measured, 56 x 56 x 128: strips twice as wide as with them take 1.8 times as long.
"""

PARTS = 16
"""The most pieces of work that do not share sums: as many as there are threads to use them on common machines."""


@inlined
def sum_row(tile, total, window, rest, source, line, across, gradient, existing, ahead):
    """``total`` and the sums of some rows of taps along a row of gradients.

    source: the first of these rows, column 0; across: (first pixel, last, advance, columns, channels); existing: channels,
    first row of taps, last, and how far the next gradients are; ahead: (first, number) of the rows of the image to be
    fetched, with the next gradients, and where lines of image and gradients are asked for, how many with a tile
    """
    count, first_row, end_row, below = existing
    start, end, advance, width, channels = across
    whole = end - (end - start) % window.pixels
    asked, given_later = ahead[2], ahead[3]
    for q in range(start, whole, window.pixels):
        column = q * advance
        place, given = source + column * channels, gradient + q * channels
        for j in range(ahead[4]):
            prefetch_further(asked + j * tile.lanes)
        for j in range(ahead[5]):
            prefetch_further(given_later + j * tile.lanes)
        asked, given_later = asked + ahead[4] * tile.lanes, given_later + ahead[5] * tile.lanes
        for row in range(ahead[1]):
            fetch(tile, window, place + (ahead[0] + row) * width * channels, channels)
        if ahead[1]:
            fetch(tile, window, given + below, channels)
        edge = -column, width - column, first_row, end_row
        if count >= tile.columns:
            total = slide_gradient(window, tile, total, place, line, channels, given, edge)
        else:
            total = slide_gradient_at_edge(window, tile, total, place, line, channels, given, (*edge, count))
    if whole < end:
        column = whole * advance
        edge = -column, width - column, first_row, end_row
        place, given = source + column * channels, gradient + whole * channels
        if count >= tile.columns:
            total = slide_gradient(rest, tile, total, place, line, channels, given, edge)
        else:
            total = slide_gradient_at_edge(rest, tile, total, place, line, channels, given, (*edge, count))
    return total


@jit
def add_rows(tile, chains, window, rest, image, down, across, gradient, rows, extent, asked, later, sums):
    """Add to ``sums`` what a strip of some rows of gradients gives for a block of channels.

    down: rows of the image from one row of gradients to the next, the first one's, dilation, rows of taps, rows of the image
    across: (first pixel, last, advance, columns, channels); rows: (first, last) of gradients
    extent: (first channel, last, pixels of a row); asked: rows of the image to be fetched with each of gradients
    later: (image, gradients that come next, lines of each that are asked for with a tile)
    image, gradient, sums: at channel 0 of row 0
    """
    advance, top, dilation, taps, height = down
    begin, last, pixels = extent
    _, _, _, width, channels = across
    together, line = tile.rows // window.taps, dilation * width * channels
    for r in range(0, taps, together):
        below, number = ((taps - 1) * dilation + 1, asked if r == 0 else 0), 0
        pieces = (later[2], later[3]) if r == 0 else (0, 0)
        for k in range(begin, last, tile.columns):
            count, total = channels - k, zero(chains)
            for p in range(rows[0], rows[1]):
                y = p * advance + top + r * dilation
                first_row = (max(0, -y) + dilation - 1) // dilation
                end_row = min(taps - r, (height - 1 - y) // dilation + 1)
                source, given = image + (y * width * channels + k), gradient + (p * pixels * channels + k)
                existing = count, first_row, end_row, pixels * channels
                step = number * ((across[1] - across[0]) // window.pixels) * tile.lanes
                fetched = below[0], below[1], later[0] + step * pieces[0], later[1] + step * pieces[1], pieces[0], pieces[1]
                number += 1
                total = sum_row(tile, total, window, rest, source, line, across, given, existing, fetched)
            taps_here = min(together, taps - r) * window.taps
            place = block(tile, sums + (r * window.taps * channels + k), channels, taps_here, count)
            store_tile(add_tile(fold(tile, total), load_tile(tile, place)), place)


@inlined
def bring_band(tile, image, gradient, down, sizes, rows):
    """Bring near the gradients of ``rows``, (first, last), and the rows of the image that they meet.

    down: as in ``add_rows``; sizes: elements of a row of the image and of gradients
    """
    advance, top, dilation, taps, height = down
    upper = max(0, rows[0] * advance + top)
    lower = min((rows[1] - 1) * advance + top + (taps - 1) * dilation + 1, height)
    bring(tile, image + upper * sizes[0], (lower - upper) * sizes[0])
    bring(tile, gradient + rows[0] * sizes[1], (rows[1] - rows[0]) * sizes[1])


@jit
def add_share(tile, chains, window, rest, extents, steps, operands, thread, threads):
    """The parts and blocks of channels that are this thread's; the seventh of ``steps``: rows of a band, or 0.

    Not 0: the operands of a band are brought near before it is computed, or asked for with the band before.
    """
    grad_output, x, sums = operands
    parts, images, bands, source_rows, source_columns, target_rows, target_columns, channels = extents
    advance, top, dilation, taps, across_advance, all_taps, band, strip, block_channels, together, asked = steps[:11]
    lines = steps[11:]  # a parallel loop takes no tuple of tuples
    blocks = (channels + block_channels - 1) // block_channels
    first_task, end_task = share(thread, threads, parts * blocks)
    for task in range(first_task, end_task):
        part, k = task // blocks, task % blocks * block_channels
        last = min(k + block_channels, channels)
        total = pointer(tile, sums, part * all_taps * channels)
        for tap in range(all_taps):
            clear(tile, total + (tap * channels + k), last - k)
        first_piece, end_piece = share(part, parts, images * bands)
        for piece in range(first_piece, end_piece):
            n, (first, end) = piece // bands, share(piece % bands, bands, target_rows)
            image = pointer(tile, x, n * source_rows * source_columns * channels)
            gradient = pointer(tile, grad_output, n * target_rows * target_columns * channels)
            down, sizes = (advance, top, dilation, taps, source_rows), (source_columns * channels, target_columns * channels)
            for begin in range(first, end, band or target_rows):
                until = min(begin + (band or target_rows), end)
                fresh = (until - 1) * advance + top + (taps - 1) * dilation + 1
                later = image + fresh * sizes[0], gradient + until * sizes[1], lines[0], lines[1]
                if band and not lines[0]:
                    bring_band(tile, image, gradient, down, sizes, (begin, until))
                for q in range(0, target_columns, strip):
                    across = q, min(q + strip, target_columns), across_advance, source_columns, channels
                    for p in range(begin, until, together):
                        rows, extent = (p, min(p + together, until)), (k, last, target_columns)
                        add_rows(tile, chains, window, rest, image, down, across, gradient, rows, extent, asked, later, total)


@threaded
def add_all(tile, chains, window, rest, extents, steps, operands, threads):
    for thread in prange(threads):
        add_share(tile, chains, window, rest, extents, steps, operands, np.intp(thread), threads)


class BackwardWeight:
    """A plan for the gradient with respect to the weight (R, S, 1, C).  One call at a time."""

    def __init__(self, problem, threads=1):
        self.problem = problem
        vertical, horizontal = forward_axes(problem)
        together = max(1, min(problem.R, SUMS // problem.S))
        wide = Tile(together * problem.S, 2, problem.dtype)
        vectors = 2 if wide.lanes < problem.K and wide.fits() else 1
        self.tile = Tile(together * problem.S, vectors, problem.dtype)
        self.chains = Tile(self.tile.rows * -(-CHAINS // (self.tile.rows * vectors)), vectors, problem.dtype)
        pixels = problem.Q if problem.Q <= WHOLE_ROW else even(problem.Q, PIXELS, 1)
        self.windows = Window(horizontal, pixels), Window(horizontal, problem.Q % pixels or pixels)
        about = problem.K, self.tile, problem.bytes, GRADIENT_ROWS
        walk = walk_of(vertical, horizontal, self.windows[0], *about)
        strip, width, together = walk.pixels, walk.channels, 1
        if not walk.asked:  # whole rows, one after another: few are read again from afar
            strip, width, together = problem.Q, even(problem.K, BLOCK, self.tile.columns), problem.P
        band = -(-walk.band // 2) if exceed_caches(problem, 1) else 0  # for any number of threads, so that sums are the same
        if band:
            strip, width, together = even(problem.Q, STRIP, pixels), problem.K, band
        lines, asked = (0, 0), int(problem.stride[0] == 1)
        each = vertical.advance * problem.W * problem.K, problem.Q * problem.K
        if problem.K <= MOST_TOGETHER and goes_in_order(problem, vertical, problem.W * problem.K):
            band = even(problem.P, int(caches().level2 * NEXT_SHARE) // (sum(each) * self.tile.itemsize), 1)
            strip, width, together, asked = problem.Q, problem.K, band, 0
            tiles = -(-problem.K // self.tile.columns) * (problem.Q // pixels)
            lines = tuple(-(-size // (tiles * self.tile.lanes)) for size in each)
        blocks = -(-problem.K // width)
        bands = min(problem.P, -(-PARTS // max(1, problem.N * blocks)))
        self.parts = max(1, min(problem.N * bands, -(-PARTS // blocks)))
        threads = threads_for(threads, problem.flops, THREAD_FLOPS)
        self.threads = max(1, min(threads, self.parts * blocks))
        self.extents = self.parts, problem.N, bands, problem.H, problem.W, problem.P, problem.Q, problem.K
        down = vertical.advance, -problem.padding[0][0], problem.dilation[0], problem.R
        self.steps = (
            *down,
            horizontal.advance,
            problem.R * problem.S,
            band,
            strip,
            width,
            together,
            asked,
            *lines,
        )
        self.sums = np.zeros((self.parts if self.parts > 1 else 0, problem.R * problem.S * problem.K), problem.dtype)
        self.workspace_bytes = self.sums.nbytes

    def __call__(self, grad_output, x, out):
        """Write the gradient (R, S, 1, C) into ``out``, for grad_output (N, P, Q, C) and x (N, H, W, C)."""
        sums = self.sums if self.parts > 1 else out
        operands = grad_output.reshape(-1), x.reshape(-1), sums.reshape(-1)
        add_all(self.tile, self.chains, *self.windows, self.extents, self.steps, operands, self.threads)
        if self.parts > 1:
            add_parts(self.sums, out.reshape(-1), self.threads)
        return out

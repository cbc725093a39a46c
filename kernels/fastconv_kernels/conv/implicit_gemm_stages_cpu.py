"""The implicit product of one band: its tiles of pixels and channels, and weights packed as they are met."""

from ..cpu.accumulate import UNROLLED, accumulate_rows
from ..cpu.compile import inlined, jit
from ..cpu.places import columns, panel, rows_at, scattered
from ..cpu.simd import prefetch
from ..cpu.tile import add_tile, finish, load_tile, pointer, prefetch_tile, rank1, spread_columns
from .frame_cpu import pack_some

PIXELS_AHEAD = 1024
"""Elements of images that lie side by side are asked for so long before they are read, or as many as a tile reads if more."""


@inlined
def accumulate_asking(tile, total, a, b, depth, ahead, step):
    """``accumulate_rows`` of an even ``depth``, which every two steps asks for a line, ``step`` elements after the last."""
    for k in range(0, depth, 2):
        prefetch(ahead)
        ahead = ahead + step
        total = rank1(total, a + k, panel(tile, b + k * tile.columns))
        total = rank1(total, a + (k + 1), panel(tile, b + (k + 1) * tile.columns))
    return total


@inlined
def accumulate_placing(tile, total, a, b, depth, ahead, step):
    """``accumulate_rows`` of a multiple of ``UNROLLED``, beside which a row of a tile's place is asked for, ``step`` apart."""
    for k in range(0, depth, UNROLLED):
        for j in range(tile.vectors):
            prefetch(ahead + j * tile.lanes)
        ahead = ahead + step
        for one in range(UNROLLED):
            total = rank1(total, a + (k + one), panel(tile, b + (k + one) * tile.columns))
    return total


@inlined
def products(tile, total, rows, weights, segments, first, end, asked):
    """total + the products of ``rows`` of pixels with a panel of weights: one run of channels after another.

    asked: what is asked for meanwhile: (where, elements from one line, or row, to the next, during how many steps, whether it
    is the place of a tile)
    """
    ahead, step, left, places = asked
    for segment in range(first, end):
        offset, length = segments[3 * segment], segments[3 * segment + 1]
        panels = weights + segments[3 * segment + 2] * tile.columns
        if places:
            steps = min(length, left) // UNROLLED * UNROLLED
            total = accumulate_placing(tile, total, rows + offset, panels, steps, ahead, step)
        else:
            steps = min(length, left) // 2 * 2
            total = accumulate_asking(tile, total, rows + offset, panels, steps, ahead, step)
        total = accumulate_rows(tile, total, rows + (offset + steps), panels + steps * tile.columns, length - steps)
        ahead, left = ahead + steps // 2 * step, left - steps
    return total


@jit
def convolve_panel(tile, tables, slice_, pixels, count, source, weights, epilogue, target, asks):
    """A panel of ``count`` target channels of some pixels, or a slice of the sum.

    tables: pointers to the classes, to the sources and targets of the pixels, and to the segments; slice_: segments from, to,
    whether it is the first and the last; pixels: (how many, classes from, to); source, weights, target: pointers to the first
    channels; epilogue: as in ``convolve_band``; asks: what is asked for on the way: pixels so many elements ahead, if any, or
    else, if it says so, the weights at the pointer, or else places of results, pixels so far from each other, if they are
    """
    classes, sources, targets, segments = tables
    begin, end, first, last = slice_
    bias, residual, adds, rectifies, streams = epilogue
    pixels_ahead, weights_too, pitch, following = asks
    streams = streams and count >= tile.columns and first and last  # part of a sum is read again
    start = columns(tile, bias, count if first else 0)
    for number in range(pixels[1], pixels[2]):
        from_, to = classes[4 * number], min(pixels[0], classes[4 * number + 1])
        low, high = max(begin, classes[4 * number + 2]), min(end, classes[4 * number + 3])
        skipped, length = segments[3 * low + 2] * tile.columns, 0
        for segment in range(low, high):
            length += segments[3 * segment + 1]
        tiles = (to - from_ + tile.rows - 1) // tile.rows
        ahead, step, steps, places_ahead = following + skipped, tile.lanes, 0, False
        if pixels_ahead:
            step, steps = 2 * tile.rows, length
        elif weights_too and tiles:
            steps = 2 * ((length * tile.vectors + tiles - 1) // tiles)
        elif pitch and not streams:
            step, steps, places_ahead = pitch, UNROLLED * tile.rows, True
        for p in range(from_, to, tile.rows):
            places = targets + p
            place = scattered(tile, target, places, to - p, count)
            past = streams and to - p >= tile.rows
            if not past and (p == from_ or not places_ahead):
                prefetch_tile(place)
            if places_ahead:
                ahead = target + (places[0] + tile.rows * pitch)
            if pixels_ahead:
                ahead = source + (sources[p] + pixels_ahead)
            a = rows_at(tile, source, sources + p, to - p)
            asked = ahead, step, steps, places_ahead
            total = products(tile, spread_columns(tile, start), a, weights, segments, low, high, asked)
            ahead = ahead + steps // 2 * step
            if not first:
                total = add_tile(total, load_tile(tile, place))
            other = scattered(tile, residual, places, to - p, count)
            finish(tile, total, place, other, (adds and first, rectifies and last, past))


@jit
def convolve_band(tile, narrow, tables, shape, rows, stretch, source, packed, epilogue, target, asks):
    """Target pixels of one band: for each phase, group, slice of the sum, panel of channels and tile of pixels.

    narrow: the tile of the last panel of a group; shape: (groups, source channels, target channels, elements of the frame from
    one group to the next); rows: target rows that exist; stretch: panels from, to; source, packed, target: pointers, of the
    frame, of the weights, of the band in the target;
    epilogue: (bias, residual band, adds, rectifies, streams); asks: (how many elements ahead pixels are asked for, while the
    first panel is met, or 0; whether the weights of the next panel are, else; elements from one pixel of the target to the
    next if places of results are, else, or 0)

    On a Granite Rapids, which foresees little of what comes from beyond its second cache, images that are asked for took 0.75
    to 0.9 times as long, 2 MB of weights 0.94 times, results of short sums 0.87 to 0.92, whose lines came all at once before.
    """
    phases, classes, sources, targets, slices, segments = tables
    groups, _, target_channels, group_step = shape
    bias, residual, adds, rectifies, streams = epilogue
    width, nr = target_channels // groups, tile.columns
    panels, alike, runs = (width + nr - 1) // nr, pointer(tile, classes, 0), pointer(tile, segments, 0)
    for phase in range(phases.shape[0]):
        first_pixel, line, row_phase, row_step, rows_before, panel_rows, first_slice, last_slice = phases[phase, :8]
        pixels = max(0, (rows - row_phase + row_step - 1) // row_step) * line, phases[phase, 8], phases[phase, 9]
        weights = packed + rows_before * groups * panels * nr
        places = alike, pointer(tile, sources, first_pixel), pointer(tile, targets, first_pixel), runs
        for g in range(stretch[0] // panels, (stretch[1] + panels - 1) // panels):
            first_panel, end_panel = max(0, stretch[0] - g * panels), min(panels, stretch[1] - g * panels)
            for s in range(first_slice, last_slice):
                slice_ = slices[s, 0], slices[s, 1], s == first_slice, s + 1 == last_slice
                for j in range(first_panel, end_panel):
                    first_rows = weights + (g * panels + j) * panel_rows * nr
                    following = first_rows + (panel_rows if j + 1 < end_panel else (first_panel - j) * panel_rows) * nr
                    ahead = asks[0] if j == first_panel else 0, asks[1] and end_panel - first_panel > 1, asks[2], following
                    k, count = g * width + j * nr, width - j * nr
                    ending = bias + k, residual + k, adds, rectifies, streams
                    about = places, slice_, pixels, count, source + g * group_step, first_rows, ending, target + k, ahead
                    if count < nr:
                        convolve_panel(narrow, *about)
                    else:
                        convolve_panel(tile, *about)


@inlined
def frames_apart(shape):
    """Whether each group has a frame of its own."""
    return shape[3] > shape[1] // shape[0]


@inlined
def panels_of(tile, shape):
    """Panels of target channels, those of all groups; shape: as in ``convolve_band``."""
    return shape[0] * ((shape[2] // shape[0] + tile.columns - 1) // tile.columns)


@inlined
def first_channel(tile, shape, panel):
    """The first target channel of a panel."""
    width = shape[2] // shape[0]
    panels = (width + tile.columns - 1) // tile.columns
    return panel // panels * width + panel % panels * tile.columns


@inlined
def panels_met(first, end, panels):
    """(from, to) of the panels that the items ``first`` … ``end`` meet; ``panels``: items of a band."""
    if end <= first:
        return 0, 0
    return (first % panels, (end - 1) % panels + 1) if first // panels == (end - 1) // panels else (0, panels)


@jit
def weights_of(tile, narrow, taps, shape, packing, weight, begin, end, room):
    """Where the first panel is, or would be: of weights that are not packed, ``begin`` … ``end`` are packed in ``room``.

    packing: how many panels each thread packs for itself at a time, or 0; strides of the weight, see ``pack_panels``
    """
    groups, source_channels, target_channels, _ = shape
    if packing[0] == 0:
        return pointer(tile, weight, 0)
    depth, width = source_channels // groups, target_channels // groups
    extents = groups, panels_of(tile, shape) // groups, depth, width, narrow.columns
    pack_some(tile, weight, packing[1:], taps, extents, begin, end, room)
    return room + (-begin * taps.shape[0] * depth * tile.columns)

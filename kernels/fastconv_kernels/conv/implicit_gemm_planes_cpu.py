"""The implicit product of images of planes, NCHW: brought to channels last band by band, and the result back."""

import numpy as np
from numba import prange

from ..cpu.compile import jit, threaded
from ..cpu.share import share_of_bands
from ..cpu.tile import pointer
from .implicit_gemm_stages_cpu import convolve_band, first_channel, frames_apart, panels_met, panels_of, weights_of
from .planes_cpu import frame_planes, scatter_pixels


@jit
def convolve_planes_share(
    tile, narrow, tables, taps, bands, extents, shape, packing, operands, flags, buffers, thread, threads
):
    """``implicit_gemm_cpu.convolve_share`` of planes: a band is framed with channels last, and written plane by plane."""
    x, packed, bias, residual, out = operands
    frames, rooms, results = buffers
    images, source_rows, source_columns, target_rows, target_columns = extents
    count, band_rows, advance, top, left, height, width, _ = bands
    source_channels, target_channels = shape[1], shape[2]
    source_plane, target_plane = source_rows * source_columns, target_rows * target_columns
    frame, room = pointer(tile, frames, thread * frames.shape[1]), pointer(tile, rooms, thread * rooms.shape[1])
    result = pointer(tile, results, thread * results.shape[1])
    epilogue = pointer(tile, bias, 0), result, False, False, False
    inputs, addends, outputs = pointer(tile, x, 0), pointer(tile, residual, 0), pointer(tile, out, 0)
    panels = panels_of(tile, shape)
    item, end = share_of_bands(thread, threads, images, target_rows, band_rows, panels)
    weights = weights_of(tile, narrow, taps, shape, packing, packed, *panels_met(item, end, panels), room)
    while item < end:
        task, panel = item // panels, item % panels
        n, band, stretch = task // count, task % count, (panel, min(panels, panel + end - item))
        image, parts = inputs + n * source_plane * source_channels, shape[0] if frames_apart(shape) else 1
        extent, place = (source_rows, source_columns, source_channels // parts), (band * advance + top, left, height, width)
        for g in range(parts):
            frame_planes(tile, image + g * source_plane * extent[2], extent, *place, frame + g * shape[3])
        rows = min(band_rows, target_rows - band * band_rows)
        convolve_band(tile, narrow, tables, shape, rows, stretch, frame, weights, epilogue, result, flags[3:])
        begin, stop = first_channel(tile, shape, stretch[0]), first_channel(tile, shape, stretch[1])
        origin = (n * target_channels + begin) * target_plane + band * band_rows * target_columns
        finish, pixels = (addends + origin, flags[0], flags[1]), rows * target_columns
        scatter_pixels(tile, result + begin, target_channels, pixels, stop - begin, target_plane, finish, outputs + origin)
        item += stretch[1] - stretch[0]


@threaded
def convolve_planes(tile, narrow, tables, taps, bands, extents, shape, packing, operands, flags, buffers, threads):
    for thread in prange(threads):
        number, about = np.intp(thread), (tile, narrow, tables, taps, bands, extents, shape, packing)
        convolve_planes_share(*about, operands, flags, buffers, number, threads)

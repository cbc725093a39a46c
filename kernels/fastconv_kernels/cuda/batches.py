"""Batches from a data set on the device: gathered, converted and brought into the network's layout in one pass.

    element e of the batch (image, pixel, channel):     out[e] = scale * images[indices[image], channel, pixel]

a grid-stride loop: what is written lies side by side, and what is read does so for images of one channel.  The first threads
copy the labels.  Images of bytes and of floats are read; what is written is float32.
"""

from functools import cache
from typing import Any, NamedTuple

from numba import cuda, float32, int32, int64, types, uint8

from .arrays import view
from .build import kernel, numbers
from .grid import THREADS, blocks_for
from .integers import divide
from .launch import start
from .memory import at

SOURCES = {"uint8": types.CPointer(uint8), "float32": types.CPointer(float32)}
INTEGERS, FLOATS = types.CPointer(int64), types.CPointer(float32)


class Gathered(NamedTuple):
    """The geometry: pixels and channels of an image; labels that are copied too; the factor of every element."""

    pixels: int
    channels: int
    labels: int
    scale: float


@cache
def gathering(source):
    """The kernel for images of a dtype."""

    @kernel(types.void(SOURCES[source], INTEGERS, INTEGERS, FLOATS, INTEGERS, int32, numbers(Gathered)), threads=THREADS)
    def run(images, labels, indices, out, out_labels, size, g):
        quotient = cuda.local.array(1, int32)
        for place in range(cuda.grid(1), size, cuda.gridsize(1)):
            divide(at(quotient, 0), place, g.channels)
            line, channel = quotient[0], place - quotient[0] * g.channels
            divide(at(quotient, 0), line, g.pixels)
            image, pixel = quotient[0], line - quotient[0] * g.pixels
            there = indices[image] * (g.pixels * g.channels) + channel * g.pixels + pixel
            out[place] = float32(images[there]) * g.scale
            if place < g.labels:
                out_labels[place] = labels[indices[place]]

    return run


def gather(images: Any, labels: Any, indices: Any, out: Any, out_labels: Any, scale: float) -> None:
    """Write the images (N, C, …) at ``indices`` into ``out`` (n, …, C), times ``scale``, and their labels, unless None.

    ``labels`` and ``indices`` are int64; an index that is none of the images' is not looked for.
    """
    images, indices, out = view(images), view(indices), view(out)
    channels = images.shape[1]
    geometry = Gathered(images.part(0).size // channels, channels, 0 if labels is None else indices.size, float(scale))
    given = None if labels is None else view(labels), indices, out, None if labels is None else view(out_labels)
    start(gathering(images.dtype.name), blocks_for(out.size), (images, *given), (out.size, geometry))

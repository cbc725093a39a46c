"""Batches from a data set on the device: gathered, converted and brought into the network's layout in one pass.

    element e of the batch (image, pixel, channel):     out[e] = scale * images[indices[stride * step + image], channel, pixel]

a grid-stride loop: what is written lies side by side, and what is read does so for images of one channel.  The first threads
copy the labels.  Images of bytes and of floats are read; what is written is float32.  The step is read from memory, so that a
recorded launch takes the next batch each time; ``advance`` counts it.
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
    """Pixels and channels of an image; labels that are copied too; images of a step; the factor of every element."""

    pixels: int
    channels: int
    labels: int
    stride: int
    scale: float


@cache
def gathering(source):
    """The kernel for images of a dtype."""
    signature = types.void(SOURCES[source], *[INTEGERS] * 3, FLOATS, INTEGERS, int32, numbers(Gathered))

    @kernel(signature, threads=THREADS)
    def run(images, labels, indices, steps, out, out_labels, size, g):
        first = steps[0] * g.stride
        quotient = cuda.local.array(1, int32)
        for place in range(cuda.grid(1), size, cuda.gridsize(1)):
            divide(at(quotient, 0), place, g.channels)
            line, channel = quotient[0], place - quotient[0] * g.channels
            divide(at(quotient, 0), line, g.pixels)
            image, pixel = quotient[0], line - quotient[0] * g.pixels
            there = indices[first + image] * (g.pixels * g.channels) + channel * g.pixels + pixel
            out[place] = float32(images[there]) * g.scale
            if place < g.labels:
                out_labels[place] = labels[indices[first + place]]

    return run


@cache
def advancing():
    """The kernel (steps): one thread."""

    @kernel(types.void(INTEGERS), threads=32)
    def run(steps):
        if cuda.grid(1) == 0:
            steps[0] += 1
            steps[1] += 1

    return run


def gather(images: Any, labels: Any, indices: Any, steps: Any, stride: int, out: Any, out_labels: Any, scale: float) -> None:
    """Write the n images (N, C, …) at ``indices[steps[0] * stride:]`` into ``out`` (n, …, C), times ``scale``.

    Their ``labels`` go into ``out_labels``, unless None.  Those, ``indices`` and ``steps`` are int64; an index that is none of
    the images' is not looked for.
    """
    images, out, given = view(images), view(out), None if labels is None else view(labels)
    channels, count = images.shape[1], 0 if labels is None else out.shape[0]
    geometry = Gathered(images.part(0).size // channels, channels, count, stride, float(scale))
    arrays = images, given, view(indices), view(steps), out, None if labels is None else view(out_labels)
    start(gathering(images.dtype.name), blocks_for(out.size), arrays, (out.size, geometry))


def advance(steps: Any) -> None:
    """Add 1 to both numbers of ``steps`` (2,) int64: of an epoch's steps, and of all."""
    start(advancing(), 1, (view(steps),), ())

"""The cost model of convolution: what each algorithm has to do for a problem, in units whose cost was measured.

A kernel's time is predicted as the sum of amount x cost over its units: multiply-adds at the rate of its inner loop, numbers
that pass through transforms, bytes of images that come and go, weights that are packed, and what every call costs.
``costs.json`` holds the nanoseconds of each unit on one thread, fitted by ``python -m benchmarks.calibrate``.  Machines differ
in all of them alike, more or less: what counts is which kernel is the faster one.  Of 1,384 choices by the costs of a Zen 5
those of a Granite Rapids took 1.013 times as long as the fastest, a geometric mean, those of the Zen 5 1.010 times.

What turning planes costs the weight's gradient by Winograd is what it costs the forward kernels, not fitted: when the Zen 5
was measured, images were converted for it.

Source: the idea is the roofline's, Williams, Waterman & Patterson, "Roofline: an insightful visual performance model", 2009,
with sums in place of the maximum: stages of a kernel follow each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..cpu.simd import register_bytes
from ..cpu.tile import LATENCY_SUMS
from ..cpu.workspace import caches, far_caches
from ..problems import Conv
from ..registry import Kernel
from .dilated import as_images, dearer
from .inside import computed
from .winograd_blocks import filter_passes, keeps_filters

COSTS: Mapping[str, Mapping[str, float]] = json.loads(Path(__file__).with_name("costs.json").read_text())["nanoseconds"]
"""Of each unit, by kernel."""


LEAST_ROWS = 2
"""Of the tiles with lanes over pixels: one row takes as long as two, because each vector of pixels is loaded for it alone."""


PANEL_VECTORS = 2
"""Of its panels of pixels, as the plans choose them for a line that hardly fills more."""


CHANNEL_ROWS = 8
"""Of the tiles with rows of channels of one tap."""


FAR = 3
"""Times what a number of U takes where it comes from beyond a second cache behind which all is far.

On a Granite Rapids a single image of 7x7 with 160 and 320 channels, 7 MB of U, took 320 µs, 254 of them for U at 29 GB/s.
"""


SLOW = 2
"""Times what it takes to transform filters where the second cache is slow.

What was chosen on a Granite Rapids for weights that are not prepared took 1.010 times as long as the fastest forward and 1.015
in the gradient of the input, with filters as cheap as on a Zen 5 1.014 and 1.021; in 44 problems of small maps
1.06 times, with filters 3 times as dear, panels of them excepted, 1.15.
"""


FAR_PIXELS = 16
"""That at least take as long as to meet weights beyond such a second cache, which all come again for every image."""


EVERY_CALL = {"calls": 1, "runs": 1}
"""What any problem takes: a public call up to its plan, and a run of the plan."""


OF_A_GROUP = {"forward": 1.2, "backward_input": 1.2, "backward_weight": 1.6}
"""Times what products take in groups, whose sums are short and narrow: those of a weight's gradient 0.9 to 2.5 in 12 layers.

The others: with 1.2 what was chosen for problems in groups took on a Granite Rapids 1.016 forward and 1.013 times as long in
the gradient as the fastest, without it 1.023 and 1.028, and on a Zen 5 1.007 and 1.022, without it 1.015 and 1.025.
"""


TURNED_GROUPS = 1.25
"""Times as much where the images are planes, of which each group meets few at a time.

On a Granite Rapids 16 images of 14x14 in 32 groups of 16 took 5.6 ms forward where direct convolution took 3.6.
"""


def modelled(kernel: Kernel) -> Kernel:
    """``kernel`` with its prediction, if its algorithm has a model and its units were measured."""
    if kernel.algorithm not in WORK or kernel.name not in COSTS:
        return kernel
    return with_costs(kernel, COSTS[kernel.name])


def with_costs(kernel: Kernel, costs: Mapping[str, float]) -> Kernel:
    """``kernel``, predicting with these nanoseconds of each unit of its algorithm's work."""

    def work(problem: Conv) -> dict[str, float]:
        return {**WORK[kernel.algorithm](problem, kernel.direction), **EVERY_CALL}

    return replace(kernel, work=work, costs=costs)


def _up(count: int, unit: int) -> int:
    """``count`` rounded up to whole units."""
    return -(-count // unit) * unit


def _lanes(problem: Conv) -> int:
    return register_bytes() // np.dtype(problem.dtype).itemsize


def _sides(problem: Conv, direction: str) -> tuple[int, int, int]:
    """Channels of a group that are summed over, channels that lanes run over, and pixels that are computed."""
    inputs, outputs = problem.C // problem.groups, problem.K // problem.groups
    if direction == "forward":
        return inputs, outputs, problem.N * problem.P * problem.Q
    if direction == "backward_input":
        return outputs, inputs, problem.N * problem.H * problem.W
    return inputs, outputs, problem.N * problem.P * problem.Q


def _turned(problem: Conv) -> dict[str, float]:
    """What lanes over channels cost where the images are planes: bytes that are transposed on the way."""
    return {"turned": problem.image_bytes} if problem.layout == "NCHW" else {}


def implicit_gemm(problem: Conv, direction: str) -> dict[str, float]:
    """Tiles of pixels and channels: lanes that have no channel work for nothing, and every tile is set up and stored.

    In the weight's gradient so do rows of a tile, which are channels of one tap; of framed images they are of several
    taps, and where even these are few, sums wait for each other.
    """
    deep, wide, pixels = _sides(problem, direction)
    lanes, taps = _lanes(problem), problem.R * problem.S
    weights = problem.K * (problem.C // problem.groups) * taps
    waste = _up(wide, lanes) / wide
    if direction == "backward_weight" and (problem.groups > 1 or problem.S == 1):
        waste *= _up(deep, CHANNEL_ROWS) / deep
    elif direction == "backward_weight" and deep < CHANNEL_ROWS:  # framed: rows are the taps of a row
        waste *= max(1, LATENCY_SUMS / (problem.S * deep * -(-wide // lanes)))
    if problem.dilation != (1, 1):
        waste *= computed(problem, direction)
    if problem.groups > 1:
        waste *= OF_A_GROUP[direction] * (TURNED_GROUPS if problem.layout == "NCHW" else 1)
    beyond = far_caches() and weights * np.dtype(problem.dtype).itemsize > caches().level2
    if beyond and direction != "backward_weight":
        waste *= max(1, FAR_PIXELS * problem.N / max(1, pixels))
    return {
        "products": problem.flops / 2 * waste,
        "stores": pixels * problem.groups * _up(wide, lanes),
        "images": problem.image_bytes,
        "weights": weights,
        **_turned(problem),
    }


def pointwise(problem: Conv, direction: str) -> dict[str, float]:
    """Lanes over pixels: rows of a tile that have no channel work for nothing, and the first tile of channels packs.

    So do lanes beyond the end of the last plane: panels run on from image to image.  In the weight's gradient lanes are over
    the fewer channels, of the inputs or the outputs, and these are what is packed.
    """
    deep, wide, pixels = _sides(problem, direction)
    packed, waste = deep, _up(wide, LEAST_ROWS) / wide * _up(pixels, PANEL_VECTORS * _lanes(problem)) / max(1, pixels)
    if direction == "backward_weight":
        packed = min(deep, wide)
        waste = _up(packed, _lanes(problem)) / packed
    return {
        "products": problem.flops / 2 * waste,
        "packed": pixels * problem.groups * packed,
        "images": problem.image_bytes,
        "weights": problem.K * (problem.C // problem.groups),
    }


def _points(length: int, step: int, side: int, stride: int, direction: str) -> int:
    """That the patches of an axis meet: the last one leaves out those that only results outside of the image would need."""
    patches = -(-length // step)
    outside = patches * step - length
    return patches * side - outside * (1 if direction == "backward_input" else stride)


def winograd(problem: Conv, direction: str, outputs: int) -> dict[str, float]:
    """Products at every point, and transforms of patches, of results and of filters, each as a product with a small matrix.

    Filters that are too large to be kept transformed are transformed panel by panel, in every call and for each block of
    patches, prepared or not; those of planes are put in order for it.  Those that are kept come from the third cache or from
    memory, which takes most of the time for a single image.
    """
    lanes, stride = _lanes(problem), problem.stride[0]
    side, step, (rows, columns) = stride * (outputs - 1) + problem.R, outputs, (problem.P, problem.Q)
    if direction == "backward_input":
        step, rows, columns = stride * outputs, problem.H, problem.W
    patches = problem.N * -(-rows // step) * -(-columns // step)
    inputs, channels = _up(problem.C, lanes), _up(problem.K, lanes)
    down, across = (_points(length, step, side, stride, direction) for length in (rows, columns))
    if problem.layout == "NCHW":  # patches of a row stay together
        across = side * -(-columns // step)
    u_bytes = side**2 * np.dtype(problem.dtype).itemsize * inputs * channels
    kept = direction == "backward_weight" or keeps_filters(u_bytes)
    passes = 1 if direction == "backward_weight" else filter_passes(u_bytes, patches)
    ordered = {"ordered": passes * problem.K * problem.C * problem.R**2} if problem.layout == "NCHW" else {}
    far = FAR if far_caches() and u_bytes > caches().level2 else 1
    slow = SLOW if far_caches() and direction != "backward_weight" else 1
    met = {"met": far * side**2 * inputs * channels} if kept and direction != "backward_weight" else {}
    return {
        "products": problem.N * down * across * inputs * channels,
        "patches": side**3 * patches * (inputs + channels),
        "filters" if kept else "panels": slow * passes * side**3 * inputs * channels,
        "images": problem.image_bytes,
        **met,
        **_turned(problem),
        **ordered,
    }


def winograd_phases(problem: Conv, direction: str, outputs: int) -> dict[str, float]:
    """Winograd's with the phases of a stride as channels; its input transform runs over rows of pixels of a phase's cell."""
    lanes, stride, taps = _lanes(problem), problem.stride[0], -(-max(problem.R, problem.S) // problem.stride[0])
    side, depth, channels = outputs + taps - 1, stride**2 * problem.C, _up(problem.K, lanes)
    patches = problem.N * -(-problem.P // outputs) * -(-problem.Q // outputs)
    return {
        "products": side**2 * patches * depth * channels,
        "patches": side**3 * patches * (stride * _up(stride * problem.C, lanes) + channels),
        "filters": side**3 * depth * channels,
        "images": problem.image_bytes,
        **_turned(problem),
    }


def winograd_dilated(problem: Conv, direction: str) -> dict[str, float]:
    """Winograd's of the phases of the pixels as images, which are copied apart and together again."""
    times, work = dearer(problem, direction), winograd(as_images(problem), direction, outputs=4)
    return {**{unit: times * amount for unit, amount in work.items()}, "copied": problem.image_bytes}


def direct(problem: Conv, direction: str) -> dict[str, float]:
    """Lanes over pixels: frames are filled row by row; rows end where lanes do not, tiles where channels do not.

    The weight's gradient has a sum for each tap of a channel, and no tile of rows.
    """
    inputs, wide, _ = _sides(problem, direction)
    wide = wide if direction == "backward_weight" else _up(wide, LEAST_ROWS)
    rows, columns = (problem.H, problem.W) if direction == "backward_input" else (problem.P, problem.Q)
    pixels = problem.N * rows * _up(columns, _lanes(problem))
    return {
        "products": pixels * problem.groups * wide * inputs * problem.R * problem.S,
        "rows": problem.N * (problem.C * problem.H + problem.K * problem.P),
        "images": problem.image_bytes,
    }


def depthwise(problem: Conv, direction: str) -> dict[str, float]:
    """Lanes over channels: each meets the taps of its own window alone."""
    _, _, pixels = _sides(problem, direction)
    products = pixels * problem.R * problem.S * _up(problem.C, _lanes(problem))
    return {"products": products, "images": problem.image_bytes}


def depthwise_planes(problem: Conv, direction: str) -> dict[str, float]:
    """Lanes over pixels of a row, of one phase in the transpose of a stride: those beyond its end work for nothing."""
    rows, columns, step = (
        (problem.H / problem.stride[0], problem.W, problem.stride[1])
        if direction == "backward_input"
        else (problem.P, problem.Q, 1)
    )
    vectors = problem.N * problem.K * rows * -(-columns // (step * _lanes(problem)))
    return {"products": vectors * _lanes(problem) * problem.R * problem.S, "images": problem.image_bytes}


def depthwise_small_planes(problem: Conv, direction: str) -> dict[str, float]:
    """Lanes over the pixels of all planes."""
    return {"products": problem.flops / 2, "images": problem.image_bytes}


def col2im(problem: Conv, direction: str) -> dict[str, float]:
    """A product with whole windows as rows, whose sums are added one by one; lanes over rows of pixels."""
    sums = problem.N * problem.P * _up(problem.Q, _lanes(problem)) * problem.C * problem.R * problem.S
    return {"products": sums * (problem.K // problem.groups), "sums": sums, "images": problem.image_bytes}


WORK: Mapping[str, Callable[..., Mapping[str, float]]] = {
    "implicit_gemm": implicit_gemm,
    "pointwise": pointwise,
    "winograd": partial(winograd, outputs=4),
    "winograd_2x2": partial(winograd, outputs=2),
    "winograd_phases": partial(winograd_phases, outputs=4),
    "winograd_dilated": winograd_dilated,
    "direct": direct,
    "depthwise": depthwise,
    "depthwise_planes": depthwise_planes,
    "depthwise_small_planes": depthwise_small_planes,
    "col2im": col2im,
}
"""By algorithm: a function of the problem and the direction."""

"""The CPU's kernels for convolution, in the order in which they are asked; each says what it cannot compute, and its cost."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..registry import Kernel
from . import (
    col2im_cpu,
    depthwise_cpu,
    depthwise_planes_cpu,
    depthwise_planes_weight_cpu,
    depthwise_small_planes_cpu,
    depthwise_weight_cpu,
    direct_cpu,
    direct_weight_cpu,
    implicit_gemm_chunks_cpu,
    implicit_gemm_weight_cpu,
    matmul_cpu,
    pointwise_cpu,
    pointwise_weight_cpu,
    winograd_cpu,
    winograd_dilated_cpu,
    winograd_phases_cpu,
    winograd_weight_cpu,
)
from .work import modelled

PACKING = "prepared", "most_bytes"
"""What is told to plans that pack weights, or transform them, in each call unless they are prepared."""

DIRECTIONS = "forward", "backward_input", "backward_weight"


def rows(
    algorithm: str,
    target: str,
    plans: tuple[Any, Any, Any],
    layout: str | None = None,
    in_layout: tuple[str, ...] = DIRECTIONS,
    options: tuple[str, ...] = (),
    **about: Any,
) -> tuple[Kernel, ...]:
    """An algorithm's row in each of the three tables.

    in_layout: the directions whose plans take ``layout`` alone; options: of plans that take weights
    """
    return tuple(
        Kernel(
            "conv",
            direction,
            algorithm,
            target,
            plan,
            options=() if direction == "backward_weight" else options,
            layout=layout if direction in in_layout else None,
            **about,
        )
        for direction, plan in zip(DIRECTIONS, plans, strict=True)
    )


def _winograd(algorithm: str, outputs: int, summary: str) -> dict[str, Any]:
    """What all of an algorithm's kernels say of themselves."""
    return {
        "algorithm": algorithm,
        "target": "cpu",
        "refuses": partial(winograd_cpu.refuses, outputs=outputs),
        "layout": "NHWC",
        "options": PACKING,
        "accuracy": winograd_cpu.ACCURACY[outputs],
        "summary": summary,
        "source": "Winograd, Arithmetic Complexity of Computations, 1980; "
        "Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, 2016",
    }


def _winograd_plans(outputs: int) -> tuple[Any, Any, Any]:
    plans = winograd_cpu.Forward, winograd_cpu.BackwardInput, winograd_weight_cpu.BackwardWeight
    forward, backward_input, backward_weight = (partial(plan, outputs=outputs) for plan in plans)
    return forward, backward_input, backward_weight


WINOGRAD_PLANS = _winograd_plans(4)
WINOGRAD = _winograd(
    "winograd",
    4,
    "F(4x4, 3x3) with points 0, ±1/√2, ±√2, ∞ and F(4x4, 5x5): 36 or 64 products instead of 144 or 400.",
)
WINOGRAD_2X2 = _winograd(
    "winograd_2x2",
    2,
    "F(2x2, 3x3) with points 0, ±1, ∞ and F(2x2, 5x5), also with stride 2: an error close to a plain sum's.",
)

RANKED = (
    rows(plans=WINOGRAD_PLANS, in_layout=(), **WINOGRAD),
    rows(plans=_winograd_plans(2), in_layout=(), **WINOGRAD_2X2),
    rows(
        "depthwise",
        "cpu",
        (depthwise_cpu.Forward, depthwise_cpu.BackwardInput, depthwise_weight_cpu.BackwardWeight),
        layout="NHWC",
        refuses=depthwise_cpu.refuses,
        summary="A row of taps slides over rows of pixels, the lanes are channels: each pixel is loaded once for all taps.",
        source="Zhang, Lo & Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices, 2020",
    ),
    rows(
        "depthwise_planes",
        "cpu",
        (depthwise_planes_cpu.Forward, depthwise_planes_cpu.BackwardInput, depthwise_planes_weight_cpu.BackwardWeight),
        layout="NCHW",
        refuses=depthwise_planes_cpu.refuses,
        summary="Rows of a plane slide under the window, lanes are pixels: a row is loaded once for every column of taps.",
        source="Zhang, Lo & Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices, 2020",
    ),
    rows(
        "implicit_gemm",
        "cpu",
        (implicit_gemm_chunks_cpu.forward, implicit_gemm_chunks_cpu.backward_input, implicit_gemm_weight_cpu.BackwardWeight),
        layout="NHWC",
        in_layout=("backward_weight",),
        as_it_is=implicit_gemm_weight_cpu.of_few_channels,
        options=PACKING,
        summary="A register tile of pixels x channels, pixels addressed through a table; no matrix of windows is built.",
        source="Dukhan, The Indirect Convolution Algorithm, 2019; "
        "Georganas et al., Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures, 2018",
    ),
)

MATMUL = [
    Kernel(
        "conv",
        direction,
        "matmul",
        "cpu",
        plan,
        refuses=matmul_cpu.refuses,
        declines=partial(matmul_cpu.declines, direction=direction),
        summary="A 1x1 window, few channels on one side: the plain product of matrices, for a vector, few rows or columns.",
        source="Goto & van de Geijn, High-Performance Implementation of the Level-3 BLAS, 2008",
    )
    for direction, plan in zip(
        DIRECTIONS, (matmul_cpu.Forward, matmul_cpu.BackwardInput, matmul_cpu.BackwardWeight), strict=True
    )
]

POINTWISE: dict[str, Any] = {
    "algorithm": "pointwise",
    "target": "cpu",
    "declines": pointwise_cpu.declines,
    "layout": "NCHW",
    "summary": "A 1x1 window is a product with lanes over the pixels of planes, read where they are: nothing is converted.",
    "source": "Goto & van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008; "
    "Zhang, Lo & Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices, 2020",
}

DILATED = rows(
    "winograd_dilated",
    "cpu",
    (
        partial(winograd_dilated_cpu.Forward, inner=WINOGRAD_PLANS[0]),
        partial(winograd_dilated_cpu.BackwardInput, inner=WINOGRAD_PLANS[1]),
        partial(winograd_dilated_cpu.BackwardWeight, inner=WINOGRAD_PLANS[2], plain=implicit_gemm_weight_cpu.BackwardWeight),
    ),
    layout="NHWC",
    options=PACKING,
    refuses=partial(winograd_dilated_cpu.refuses, undilated=WINOGRAD["refuses"]),
    accuracy=winograd_cpu.ACCURACY[4],
    summary="F(4x4) where the window is dilated: the phases of the pixels are images of their own, copied apart.",
    source="Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, 2016; "
    "Yu & Koltun, Multi-Scale Context Aggregation by Dilated Convolutions, 2016",
)

PHASES: dict[str, Any] = {
    "algorithm": "winograd_phases",
    "target": "cpu",
    "refuses": winograd_phases_cpu.refuses,
    "accuracy": winograd_phases_cpu.ACCURACY,
    "summary": "Winograd with the phases of a stride as channels, F(4x4) of 2 to 5 taps each: for images of few channels.",
    "source": "Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, 2016; "
    "Huang et al., DWM: A Decomposable Winograd Method for Convolution Acceleration, 2020",
}

SMALL_PLANES: dict[str, Any] = {
    "algorithm": "depthwise_small_planes",
    "target": "cpu",
    "refuses": depthwise_small_planes_cpu.refuses,
    "declines": depthwise_small_planes_cpu.declines,
    "layout": "NCHW",
    "summary": "The planes of as many channels as lanes are one run of whole vectors; taps' sums a few lanes apart are added.",
    "source": "Zhang, Lo & Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices, 2020",
}

FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT = (list(table) for table in zip(*RANKED, DILATED, strict=True))
FORWARD[:0] = [
    Kernel("conv", "forward", plan=pointwise_cpu.Forward, refuses=pointwise_cpu.refuses, options=PACKING, **POINTWISE),
    Kernel(
        "conv",
        "forward",
        "direct",
        "cpu",
        direct_cpu.Forward,
        layout="NCHW",
        summary="Lanes over pixels, shifted planes read where they are: for groups of few channels.",
        source="Georganas et al., Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures, 2018",
    ),
    Kernel("conv", "forward", plan=winograd_phases_cpu.Forward, **PHASES),
    Kernel("conv", "forward", plan=depthwise_small_planes_cpu.Forward, **SMALL_PLANES),
]
BACKWARD_INPUT[:0] = [
    Kernel(
        "conv",
        "backward_input",
        plan=pointwise_cpu.BackwardInput,
        refuses=pointwise_cpu.refuses_gradient,
        options=PACKING,
        **POINTWISE,
    ),
    Kernel(
        "conv",
        "backward_input",
        "direct",
        "cpu",
        direct_cpu.backward_input,
        refuses=direct_cpu.refuses_transpose,
        declines=direct_cpu.declines_transpose,
        summary="Lanes over pixels, of a gradient in planes or transposed to them in registers: for groups of few channels.",
        source="Georganas et al., Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures, 2018",
    ),
    Kernel(
        "conv",
        "backward_input",
        "col2im",
        "cpu",
        col2im_cpu.BackwardInput,
        summary="A product with lanes over pixels and windows as rows, then col2im in the cache: for images of few channels.",
        source="Chellapilla et al., High Performance Convolutional Neural Networks for Document Processing, 2006",
    ),
    Kernel("conv", "backward_input", plan=depthwise_small_planes_cpu.BackwardInput, **SMALL_PLANES),
]

BACKWARD_WEIGHT[:0] = [
    Kernel(
        "conv",
        "backward_weight",
        plan=pointwise_weight_cpu.BackwardWeight,
        refuses=pointwise_weight_cpu.refuses,
        **POINTWISE
        | {"summary": "A product whose sum runs over pixels: of two images the one of fewer channels is packed, transposed."},
    ),
    Kernel(
        "conv",
        "backward_weight",
        "direct",
        "cpu",
        direct_weight_cpu.BackwardWeight,
        layout="NCHW",
        summary="Lanes over pixels, a sum for each tap of a vector of gradients: for groups of few channels.",
        source="Zhang, Lo & Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices, 2020",
    ),
    Kernel("conv", "backward_weight", plan=winograd_weight_cpu.PhasesBackwardWeight, **PHASES),
]

for table, kernel in zip((FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT), MATMUL, strict=True):
    table.insert(0, kernel)

FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT = (list(map(modelled, table)) for table in (FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT))

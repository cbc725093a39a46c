"""The kernels of ``conv_pool``: convolution, bias, ReLU and 2 x 2 max pooling as one operator, and its gradients."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..registry import Kernel, select
from . import (
    direct_pool_cpu,
    implicit_gemm_pool_cpu,
    implicit_gemm_pool_weight_cpu,
    pooled_windows,
    reference,
    sparse_pool_input_cpu,
    sparse_pool_weight_cpu,
    unpool_cpu,
    winograd_cpu,
)
from .for_cpu import BACKWARD_WEIGHT, WINOGRAD, WINOGRAD_2X2


def _of_conv(answer: Any, problem: Any) -> Any:
    """What is said of a convolution, said of one with pooling."""
    return answer(problem.conv)


CONV_POOL_FORWARD = [
    *(
        Kernel(
            "conv_pool",
            "forward",
            plan=partial(winograd_cpu.PooledForward, outputs=outputs),
            declines=partial(winograd_cpu.declines_pooled, outputs=outputs),
            **about | {"refuses": partial(_of_conv, about["refuses"])},
        )
        for outputs, about in ((4, WINOGRAD), (2, WINOGRAD_2X2))
    ),
    Kernel(
        "conv_pool",
        "forward",
        "direct",
        "cpu",
        direct_pool_cpu.Forward,
        refuses=direct_pool_cpu.refuses,
        declines=direct_pool_cpu.declines,
        layout="NHWC",
        summary="Lanes over pooling windows, a vector for each of their four pixels: for few output channels.",
        source="Georganas et al., Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures, 2018",
    ),
    Kernel(
        "conv_pool",
        "forward",
        "implicit_gemm",
        "cpu",
        implicit_gemm_pool_cpu.Forward,
        layout="NHWC",
        summary="Pixels taken window by window: the maximum is found in registers, the large output never exists.",
        source="Dukhan, The Indirect Convolution Algorithm, 2019",
    ),
    Kernel(
        "conv_pool",
        "forward",
        "reference",
        "numpy",
        reference.PooledForward,
        summary="The convolution, then the largest of four strided views.",
    ),
]

CONV_POOL_BACKWARD_EPILOGUE = [
    Kernel(
        "conv_pool",
        "backward_epilogue",
        "channel_lanes",
        "cpu",
        unpool_cpu.BackwardEpilogue,
        layout="NHWC",
        summary="Each gradient selected by its position: pooling, ReLU and bias in one pass.",
    ),
    Kernel(
        "conv_pool",
        "backward_epilogue",
        "reference",
        "numpy",
        reference.PooledBackwardEpilogue,
        summary="One strided view for each position.",
    ),
]


def _transform_saves(problem: Any) -> tuple[str, ...]:
    """Why the gradient of a weight should be computed from the spread gradient."""
    chosen = select(BACKWARD_WEIGHT, problem.conv, target="cpu")
    return () if chosen.exact else (f"{chosen.algorithm} saves multiplications",)


SPARSE: dict[str, Any] = {
    "algorithm": "sparse",
    "target": "cpu",
    "refuses": pooled_windows.refuses,
    "layout": "NHWC",
    "summary": "Each channel's maxima alone, a quarter of the pixels: a number times a window, whose elements fill the lanes.",
    "source": "Parashar et al., SCNN: An Accelerator for Compressed-sparse Convolutional Neural Networks, 2017",
}

CONV_POOL_BACKWARD_WEIGHT = [
    Kernel(
        "conv_pool",
        "backward_weight",
        plan=sparse_pool_weight_cpu.BackwardWeight,
        declines=sparse_pool_weight_cpu.declines,
        **SPARSE,
    ),
    Kernel(
        "conv_pool",
        "backward_weight",
        "implicit_gemm",
        "cpu",
        implicit_gemm_pool_weight_cpu.BackwardWeight,
        declines=_transform_saves,
        layout="NHWC",
        summary="The gradient of a window selected by its position in registers, four times: it is spread over no image.",
        source="Chetlur et al., cuDNN: Efficient Primitives for Deep Learning, 2014",
    ),
    Kernel(
        "conv_pool",
        "backward_weight",
        "reference",
        "numpy",
        reference.PooledBackwardWeight,
        summary="The gradient spread, then as for any convolution.",
    ),
]

CONV_POOL_BACKWARD_INPUT = [
    Kernel(
        "conv_pool",
        "backward_input",
        plan=sparse_pool_input_cpu.BackwardInput,
        declines=sparse_pool_input_cpu.declines,
        **SPARSE,
    ),
    Kernel(
        "conv_pool",
        "backward_input",
        "reference",
        "numpy",
        reference.PooledBackwardInput,
        summary="The gradient spread, then as for any convolution.",
    ),
]

"""Convolution: the tables of its three directions; of the kernels that can, the one that predicts the least time is taken.

How the plans are called, with arrays that are C-contiguous, of the problem's dtype and in the problem's layout:

forward         ``packed = plan.pack(weight, packed=None)``, then
                ``plan(x, packed, out, bias=None, residual=None, activation=None)``
                writes activation(conv + bias + residual); bias (K,), residual of out's shape, activation None or "relu"
backward_input  ``packed = plan.pack(weight, packed=None)``, then ``plan(grad_output, packed, out)``, out of x's shape
backward_weight ``plan(grad_output, x, out)``, out of the weight's shape

The operator ``conv_pool`` is a convolution whose output is seen by ReLU and 2 x 2 max pooling alone; ``positions``, uint8,
says for each maximum where in its window it was, 0 … 3 row by row (the first of equals, NaN before everything), or 4 where
ReLU set it to zero:

forward            ``plan(x, packed, out, positions=None, bias=None)``
backward_epilogue  ``plan(grad, positions, grad_conv, grad_bias=None)``: the gradients of the convolution's output and bias
backward_weight    ``plan(grad, positions, x, out, grad_bias=None)``: the gradients of weight and bias
backward_input     ``packed = plan.pack(weight, packed=None)``, then ``plan(grad, positions, packed, out)``, out of x's shape

``weight`` may have any strides.  ``packed`` is the plan's own form of it, written anew into an array
that is given back to it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..registry import Kernel, deferred, select, single_precision
from . import (
    col2im_cpu,
    depthwise_cpu,
    depthwise_weight_cpu,
    direct_cpu,
    direct_pool_cpu,
    direct_weight_cpu,
    implicit_gemm_cpu,
    implicit_gemm_pool_cpu,
    implicit_gemm_pool_weight_cpu,
    implicit_gemm_weight_cpu,
    pointwise_cpu,
    pooled_windows,
    reference,
    sparse_pool_input_cpu,
    sparse_pool_weight_cpu,
    unpool_cpu,
    winograd_cpu,
    winograd_weight_cpu,
)
from .work import modelled

DIRECTIONS = "forward", "backward_input", "backward_weight"


def _rows(
    algorithm: str,
    target: str,
    plans: tuple[Any, Any, Any],
    layout: str | None = None,
    in_layout: tuple[str, ...] = DIRECTIONS,
    **about: Any,
) -> tuple[Kernel, ...]:
    """An algorithm's row in each of the three tables; ``in_layout``: the directions whose plans take ``layout`` alone."""
    return tuple(
        Kernel("conv", direction, algorithm, target, plan, layout=layout if direction in in_layout else None, **about)
        for direction, plan in zip(DIRECTIONS, plans, strict=True)
    )


def _winograd(algorithm: str, outputs: int, summary: str) -> dict[str, Any]:
    """What all of an algorithm's kernels say of themselves."""
    return {
        "algorithm": algorithm,
        "target": "cpu",
        "refuses": partial(winograd_cpu.refuses, outputs=outputs),
        "layout": "NHWC",
        "accuracy": winograd_cpu.ACCURACY[outputs],
        "summary": summary,
        "source": "Winograd, Arithmetic Complexity of Computations, 1980; "
        "Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, 2016",
    }


def _winograd_plans(outputs: int) -> tuple[Any, Any, Any]:
    plans = winograd_cpu.Forward, winograd_cpu.BackwardInput, winograd_weight_cpu.BackwardWeight
    forward, backward_input, backward_weight = (partial(plan, outputs=outputs) for plan in plans)
    return forward, backward_input, backward_weight


def _of_conv(answer: Any, problem: Any) -> Any:
    """What is said of a convolution, said of one with pooling."""
    return answer(problem.conv)


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
    _rows(plans=_winograd_plans(4), in_layout=("backward_weight",), **WINOGRAD),
    _rows(plans=_winograd_plans(2), in_layout=("backward_weight",), **WINOGRAD_2X2),
    _rows(
        "depthwise",
        "cpu",
        (depthwise_cpu.Forward, depthwise_cpu.BackwardInput, depthwise_weight_cpu.BackwardWeight),
        layout="NHWC",
        refuses=depthwise_cpu.refuses,
        summary="A row of taps slides over rows of pixels, the lanes are channels: each pixel is loaded once for all taps.",
        source="Zhang, Lo & Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices, 2020",
    ),
    _rows(
        "implicit_gemm",
        "cpu",
        (implicit_gemm_cpu.Forward, implicit_gemm_cpu.BackwardInput, implicit_gemm_weight_cpu.BackwardWeight),
        layout="NHWC",
        in_layout=("backward_weight",),
        summary="A register tile of pixels x channels, pixels addressed through a table; no matrix of windows is built.",
        source="Dukhan, The Indirect Convolution Algorithm, 2019; "
        "Georganas et al., Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures, 2018",
    ),
    _rows(
        "reference",
        "numpy",
        (reference.Forward, reference.BackwardInput, reference.BackwardWeight),
        summary="A matrix product for each tap of the window: the truth that the others are tested against.",
    ),
)

POINTWISE: dict[str, Any] = {
    "algorithm": "pointwise",
    "target": "cpu",
    "declines": pointwise_cpu.declines,
    "layout": "NCHW",
    "summary": "A 1x1 window is a product with lanes over the pixels of planes, read where they are: nothing is converted.",
    "source": "Goto & van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008; "
    "Zhang, Lo & Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices, 2020",
}

FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT = (list(table) for table in zip(*RANKED, strict=True))
FORWARD[:0] = [
    Kernel("conv", "forward", plan=pointwise_cpu.Forward, refuses=pointwise_cpu.refuses, **POINTWISE),
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
]
BACKWARD_INPUT[:0] = [
    Kernel(
        "conv",
        "backward_input",
        plan=pointwise_cpu.BackwardInput,
        refuses=pointwise_cpu.refuses_gradient,
        **POINTWISE,
    ),
    Kernel(
        "conv",
        "backward_input",
        "direct",
        "cpu",
        direct_cpu.backward_input,
        refuses=direct_cpu.refuses_transpose,
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
]

BACKWARD_WEIGHT[:0] = [
    Kernel(
        "conv",
        "backward_weight",
        "direct",
        "cpu",
        direct_weight_cpu.BackwardWeight,
        layout="NCHW",
        summary="Lanes over pixels, a sum for each tap of a vector of gradients: for groups of few channels.",
        source="Zhang, Lo & Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices, 2020",
    )
]

FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT = (list(map(modelled, table)) for table in (FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT))


def _on_cuda(problem: Any) -> tuple[str, ...]:
    """What the GPU's implicit matrix product cannot compute."""
    reasons = []
    if problem.dtype != "float32":
        reasons.append("it computes in float32")
    if problem.groups != 1:
        reasons.append("it has no groups")
    return tuple(reasons)


# What tensor cores do to products, as ``matmul/tensor_core_cuda.py`` derives it.
TF32: dict[str, Any] = {"accuracy": 2.0, "precision": "tf32", "product_error": 2.6 * 2**-11}
BF16: dict[str, Any] = {"accuracy": 2.0, "precision": "bf16", "product_error": 2.01 * 2**-8}
FP16: dict[str, Any] = {"accuracy": 2.0, "precision": "fp16", "product_error": 2.01 * 2**-11}
SPLIT: dict[str, Any] = {"accuracy": 2.0, "product_error": 3.5 * 2**-21}

# (plan, how, what is declared); warpgroups cut operands where the others round them
ARITHMETICS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("WarpgroupTf32", "products of TF32 by Hopper's warpgroups", TF32 | {"product_error": 2.01 * 2**-10}),
    ("Tf32", "products of TF32 on the tensor cores", TF32),
    ("Bf16", "products of BF16 on the tensor cores", BF16),
    ("Fp16", "products of FP16 on the tensor cores", FP16),
    ("Split", "three products of TF32 for one of float32", SPLIT),
    ("Simt", "plain float32 arithmetic", {}),
)


def _on_hopper(problem: Any) -> tuple[str, ...]:
    """What its warpgroups cannot compute."""
    return _on_cuda(problem) or _needs_hopper(problem)


_needs_hopper = deferred("conv.implicit_gemm_cuda", "needs_hopper")


def _implicit_on_cuda(direction: str, module: str, plan: str, idea: str) -> list[Kernel]:
    """The rows of one direction, one for each arithmetic; ``plan`` begins the names of the plans in ``module``."""
    return [
        Kernel(
            "conv",
            direction,
            f"implicit_gemm_{arithmetic.lower().replace('warpgroup', 'warpgroup_')}",
            "cuda",
            deferred(f"conv.{module}", plan + arithmetic),
            refuses=_on_hopper if arithmetic.startswith("Warpgroup") else _on_cuda,
            layout="NHWC",
            summary=f"{idea}, {how}.",
            source="Chetlur et al., cuDNN: Efficient Primitives for Deep Learning, 2014",
            **about,
        )
        for arithmetic, how, about in ARITHMETICS
        if not (direction == "backward_weight" and arithmetic.startswith("Warpgroup"))  # its operands lie across the sum
    ]


FORWARD[-1:-1] = _implicit_on_cuda(
    "forward", "implicit_gemm_cuda", "", "The matrix of windows copied from the image slice by slice"
)
BACKWARD_INPUT[-1:-1] = _implicit_on_cuda(
    "backward_input",
    "implicit_gemm_cuda",
    "BackwardInput",
    "For each input pixel the output's gradients that its taps have reached",
)
BACKWARD_WEIGHT[-1:-1] = _implicit_on_cuda(
    "backward_weight",
    "implicit_gemm_weight_cuda",
    "",
    "The sum over all pixels split into parts, which are added in their order",
)
for direction, table, plan in (
    ("forward", FORWARD, "Forward"),
    ("backward_input", BACKWARD_INPUT, "BackwardInput"),
    ("backward_weight", BACKWARD_WEIGHT, "BackwardWeight"),
):
    table.insert(
        -1,
        Kernel(
            "conv",
            direction,
            "direct",
            "cuda",
            deferred("conv.direct_cuda", plan),
            refuses=single_precision,
            layout="NHWC",
            summary="In groups, depthwise above all: a thread for each result, four channels of it where depthwise.",
            source="Qiu et al., Optimizing Depthwise Separable Convolution Operations on GPUs, 2021",
        ),
    )

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

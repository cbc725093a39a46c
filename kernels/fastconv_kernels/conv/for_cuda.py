"""The GPU's kernels for convolution, in the order in which they are asked; their modules are imported at the first plan."""

from __future__ import annotations

from typing import Any

from ..registry import Kernel, deferred, single_precision


def _beyond(problem: Any) -> tuple[str, ...]:
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
    return _beyond(problem) or _needs_hopper(problem)


_needs_hopper = deferred("cuda.launch", "needs_hopper")


def _implicit_gemm(direction: str, module: str, idea: str) -> list[Kernel]:
    """The rows of one direction, one for each arithmetic, which is what a plan is called in ``module``."""
    return [
        Kernel(
            "conv",
            direction,
            f"implicit_gemm_{arithmetic.lower().replace('warpgroup', 'warpgroup_')}",
            "cuda",
            deferred(f"conv.{module}", arithmetic),
            refuses=_on_hopper if arithmetic.startswith("Warpgroup") else _beyond,
            layout="NHWC",
            summary=f"{idea}, {how}.",
            source="Chetlur et al., cuDNN: Efficient Primitives for Deep Learning, 2014",
            **about,
        )
        for arithmetic, how, about in ARITHMETICS
        if not (direction == "backward_weight" and arithmetic.startswith("Warpgroup"))  # its operands lie across the sum
    ]


def _direct(direction: str, plan: str) -> Kernel:
    return Kernel(
        "conv",
        direction,
        "direct",
        "cuda",
        deferred("conv.direct_cuda", plan),
        refuses=single_precision,
        layout="NHWC",
        summary="In groups, depthwise above all: a thread for each result, four channels of it where depthwise.",
        source="Qiu et al., Optimizing Depthwise Separable Convolution Operations on GPUs, 2021",
    )


FORWARD = [
    *_implicit_gemm("forward", "implicit_gemm_cuda", "The matrix of windows copied from the image slice by slice"),
    _direct("forward", "Forward"),
]
BACKWARD_INPUT = [
    *_implicit_gemm(
        "backward_input",
        "implicit_gemm_input_cuda",
        "For each input pixel the output's gradients that its taps have reached",
    ),
    _direct("backward_input", "BackwardInput"),
]
BACKWARD_WEIGHT = [
    *_implicit_gemm(
        "backward_weight",
        "implicit_gemm_weight_cuda",
        "The sum over all pixels split into parts, which are added in their order",
    ),
    _direct("backward_weight", "BackwardWeight"),
]

"""The convolutions on which every kernel is tested, and one way of running any kernel in any direction."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastconv_kernels import conv
from fastconv_kernels.conv import reference
from fastconv_kernels.problems import Conv
from fastconv_kernels.registry import Kernel
from guarded import gamma, guarded, within
from targets import SIMULATED, here, small_enough

TABLES = {"forward": conv.FORWARD, "backward_input": conv.BACKWARD_INPUT, "backward_weight": conv.BACKWARD_WEIGHT}
TABLES = {direction: here(table) for direction, table in TABLES.items()}
KERNELS = [kernel for table in TABLES.values() for kernel in table]
NAMES = {kernel.name: kernel for kernel in KERNELS}


def _sides(vertical: int, horizontal: int) -> Any:
    return (vertical, vertical), (horizontal, horizontal)


ONE = _sides(1, 1)
PROBLEMS = {
    "one": Conv(1, 1, 1, 1, 1, 1, 1),
    "rows of vectors and a bit": Conv(2, 3, 9, 37, 9, 3, 3, padding=ONE),
    "primes": Conv(3, 7, 11, 13, 19, 5, 3, padding=_sides(2, 1)),
    "vectors - 1": Conv(1, 15, 5, 7, 31, 3, 3, padding=ONE),
    "vectors": Conv(1, 16, 6, 8, 32, 3, 3, padding=ONE),
    "vectors + 1": Conv(1, 17, 7, 9, 33, 3, 3, padding=ONE),
    "tile - 1": Conv(2, 8, 1, 5, 63, 1, 1),
    "tile": Conv(2, 8, 3, 8, 64, 1, 1),
    "tile + 1": Conv(2, 8, 5, 15, 65, 1, 1),
    "1x1, blocks of pixels": Conv(2, 12, 19, 17, 20, 1, 1),
    "several slices": Conv(2, 300, 5, 7, 15, 1, 1),
    "1x1 over the ends of images": Conv(3, 30, 7, 7, 26, 1, 1, groups=2),
    "few channels": Conv(2, 1, 28, 28, 32, 3, 3, padding=ONE),
    "colours": Conv(1, 3, 23, 21, 20, 7, 7, stride=(2, 2), padding=_sides(3, 3)),
    "colours, stride 4": Conv(2, 3, 33, 27, 40, 11, 9, stride=(4, 4), padding=((2, 1), (3, 2))),
    "second layer": Conv(2, 32, 14, 14, 64, 3, 3, padding=ONE),
    "patches": Conv(1, 16, 8, 12, 16, 3, 3, padding=ONE),
    "patches - 1": Conv(2, 24, 7, 11, 16, 3, 3, padding=ONE),
    "patches + 1": Conv(1, 24, 9, 13, 18, 3, 3, padding=ONE),
    "patches, no padding": Conv(3, 20, 6, 6, 18, 3, 3),
    "one patch": Conv(5, 32, 3, 3, 32, 3, 3),
    "patches of 5x5": Conv(2, 9, 9, 11, 20, 5, 5, padding=_sides(2, 2)),
    "patches of 5x5, unlike sides": Conv(1, 16, 6, 7, 18, 5, 5, padding=((2, 1), (0, 3))),
    "stride 2, patches": Conv(1, 17, 17, 16, 18, 3, 3, stride=(2, 2), padding=ONE),
    "stride 2, patches, no padding": Conv(1, 8, 8, 7, 33, 3, 3, stride=(2, 2)),
    "lenet": Conv(2, 6, 14, 14, 16, 5, 5),
    "stride 2": Conv(2, 4, 11, 23, 6, 3, 5, stride=(1, 2), padding=_sides(2, 1)),
    "stride 2, 1x1": Conv(2, 16, 9, 8, 24, 1, 1, stride=(2, 2)),
    "stride 3, 1x1": Conv(3, 5, 20, 13, 9, 1, 1, stride=(1, 3)),
    "stride 3 in groups": Conv(2, 4, 21, 29, 18, 5, 3, stride=(2, 3), padding=_sides(2, 3), groups=2),
    "stride > kernel": Conv(1, 3, 5, 64, 17, 1, 2, stride=(4, 5)),
    "rest that no window reaches": Conv(1, 3, 10, 12, 4, 3, 3, stride=(4, 5)),
    "dilated": Conv(1, 2, 17, 19, 7, 3, 3, padding=_sides(4, 2), dilation=(2, 3)),
    "dilated, stride 2": Conv(1, 2, 17, 19, 7, 3, 3, stride=(2, 2), padding=_sides(4, 2), dilation=(2, 3)),
    "dilated patches": Conv(1, 24, 18, 26, 18, 3, 3, padding=_sides(2, 2), dilation=(2, 2)),
    "dilated far": Conv(2, 20, 9, 11, 35, 3, 3, padding=_sides(6, 5), dilation=(6, 5)),
    "depthwise": Conv(2, 19, 9, 8, 19, 3, 3, padding=ONE, groups=19),
    "depthwise, stride 2": Conv(2, 40, 9, 11, 40, 3, 3, stride=(2, 2), padding=ONE, groups=40),
    "depthwise, tall": Conv(1, 33, 12, 17, 33, 5, 2, stride=(1, 3), padding=((2, 1), (0, 1)), dilation=(2, 1), groups=33),
    "depthwise, two each": Conv(1, 6, 8, 8, 12, 3, 3, stride=(2, 2), padding=ONE, groups=6),
    "groups of vectors": Conv(1, 32, 6, 6, 64, 3, 3, padding=ONE, groups=2),
    "kernel = image": Conv(2, 3, 7, 7, 5, 7, 7),
    "unlike sides": Conv(1, 3, 9, 8, 5, 3, 4, padding=((0, 1), (2, 1))),
    "wide padding": Conv(1, 2, 3, 4, 5, 2, 3, padding=((4, 0), (1, 5))),
    "one row": Conv(2, 9, 1, 33, 7, 1, 3, padding=((0, 0), (2, 1))),
    "one column": Conv(2, 5, 33, 1, 7, 3, 1, padding=_sides(1, 0)),
    "no image": Conv(0, 3, 7, 7, 5, 3, 3),
}
if SIMULATED:  # a pixel; tails of every kind; 16 bytes at a time with padding and stride; a tile and a bit; more than a slice
    PROBLEMS = {
        "one": PROBLEMS["one"],
        "unlike sides": Conv(1, 3, 4, 5, 5, 3, 4, padding=((0, 1), (2, 1))),
        "aligned": Conv(2, 4, 5, 4, 8, 3, 3, stride=(2, 1), padding=ONE),
        "dilated": Conv(1, 2, 6, 7, 2, 2, 3, padding=_sides(1, 2), dilation=(2, 3)),
        "tile + 1": Conv(1, 4, 3, 11, 33, 1, 1),
        "kernel = image": Conv(2, 3, 4, 4, 5, 4, 4),
        "no image": PROBLEMS["no image"],
        "depthwise": Conv(2, 4, 5, 4, 4, 3, 2, stride=(2, 1), padding=ONE, groups=4),
        "groups": Conv(1, 4, 4, 5, 6, 2, 2, dilation=(2, 1), groups=2),
    }
DENSE = "one", "primes", "tile + 1", "1x1 over the ends of images", "patches + 1", "patches of 5x5", "stride 2, patches"
DEPTHWISE = "depthwise", "depthwise, tall", "depthwise, two each"
SPECIAL = "colours", "stride 3 in groups", "dilated, stride 2", "dilated patches", "wide padding", *DEPTHWISE
FEW = (*PROBLEMS,) if SIMULATED else (*DENSE, *SPECIAL, "no image")
"""What is enough where vectors have fewer lanes than the machine's: each shape of a tile compiles."""
DOUBLE = FEW if SIMULATED else ("primes", DENSE[3], "patches + 1", "stride 2, patches", "colours", "depthwise, tall")
"""What is enough in float64."""
IN_PLANES = FEW if SIMULATED else ("patches + 1",)
"""The same of NCHW, for kernels that take either layout, and where vectors have fewer lanes."""
NARROWED = "FASTCONV_LANES" in os.environ
LARGE = Conv(2, 32, 24, 23, 20, 3, 3, padding=ONE)
"""Work enough for two threads in every direction."""


def in_layout(kernel: Kernel, problem: Conv, dtype: str = "float32", layout: str = "NHWC") -> Conv:
    """The problem as ``kernel`` takes it; ``layout`` if it takes any."""
    return replace(problem, dtype=dtype, layout=kernel.layout or layout)


STRIDED = "stride 2, patches", "stride 2, patches, no padding"
FEW_CHANNELS = "rows of vectors and a bit", "few channels", "colours, stride 4", "lenet", "kernel = image", "unlike sides"
FEW_CHANNELS += "stride 2", "stride > kernel"
"""On these the gradient of a weight has tiles that no other problem gives it."""
ALIKE = {
    ("implicit_gemm", "NCHW"): (*FEW, *FEW_CHANNELS),
    ("implicit_gemm_split", "NHWC"): ("one", "aligned"),
    ("direct", "NHWC"): (*PROBLEMS,) if not SIMULATED else ("unlike sides", "depthwise", "groups", "no image"),
    ("implicit_gemm_warpgroup_tf32", "NHWC"): ("aligned",),
    ("implicit_gemm_bf16", "NHWC"): ("aligned",),
    ("implicit_gemm_fp16", "NHWC"): ("one",),
    ("winograd_2x2", "NHWC"): ("one patch", "patches - 1", "patches + 1", "patches of 5x5", *STRIDED),
    ("winograd_phases", "NHWC"): ("colours", "colours, stride 4", STRIDED[0]),
    ("winograd_phases", "NCHW"): (STRIDED[0],),
    ("winograd", "NCHW"): ("one patch", "patches + 1", "patches of 5x5, unlike sides"),
    ("winograd_2x2", "NCHW"): ("patches + 1", STRIDED[0]),
}
"""What is enough for algorithms that differ from another in their matrices or in how they read alone: each shape compiles."""
DISTINCT = [k for k in KERNELS if not (SIMULATED and (k.algorithm, "NHWC") in ALIKE and k.algorithm != "direct")]
"""In the simulator, the kernels that differ from others in more than their arithmetic."""


def cases(kernels: Any = KERNELS, problems: dict[str, Conv] = PROBLEMS) -> list[Any]:
    """A pytest parameter (kernel, problem) for every problem that a kernel does not refuse, in each layout that it takes."""
    found = []
    for kernel in kernels:
        for name, problem in problems.items():
            for layout in ("NHWC", "NCHW"):
                if kernel.in_layout(problem.with_layout(layout)).layout != layout:
                    continue
                own = ALIKE.get((kernel.algorithm, layout), problems)
                few = FEW if kernel.layout or layout == "NHWC" else IN_PLANES
                if PROBLEMS.get(name) is problem and (name not in own or (NARROWED and name not in few)):
                    continue
                wanted = problem.with_layout(layout)
                if small_enough(wanted.flops) and not kernel.refuses(wanted):
                    found.append(pytest.param(kernel, wanted, id=f"{kernel.name}-{name}-{layout}"))
    return found


def in_both_precisions(parameters: list[Any]) -> list[Any]:
    """(kernel, problem) in float32, and those of ``DOUBLE`` in float64 too."""
    found = []
    for parameter in parameters:
        kernel, problem = parameter.values
        names = DOUBLE if kernel.layout or problem.layout == "NHWC" else IN_PLANES
        double = any(problem == PROBLEMS[name].with_layout(problem.layout) for name in names)
        for dtype in ("float32", "float64") if double else ("float32",):
            found.append(pytest.param(kernel, replace(problem, dtype=dtype), id=f"{parameter.id}-{dtype}"))
    return found


def shapes(direction: str, problem: Conv) -> tuple[Any, Any, Any]:
    """Of the first operand, of the second, and of the result."""
    x, weight, out = problem.x_shape, problem.weight_shape, problem.out_shape
    return {"forward": (x, weight, out), "backward_input": (out, weight, x), "backward_weight": (out, x, weight)}[direction]


def terms(direction: str, problem: Conv) -> int:
    """Products in one sum."""
    p = problem
    return {
        "forward": p.depth,
        "backward_input": p.K // p.groups * p.R * p.S,
        "backward_weight": p.N * p.P * p.Q,
    }[direction]


def operands(direction: str, problem: Conv, fill: Any, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    first, second, _ = shapes(direction, problem)
    return fill(rng, first, problem.dtype), fill(rng, second, problem.dtype)


def launch(plan: Any, direction: str, first: Any, second: Any, out: Any, **epilogue: Any) -> None:
    """Call a plan of any direction; the operands must come back as they were."""
    before = first.copy(), second.copy()
    packed = second if direction == "backward_weight" else plan.pack(second)
    plan(first, packed, out, **epilogue)
    assert np.array_equal(first, before[0], equal_nan=True), "the first operand was written"
    assert np.array_equal(second, before[1], equal_nan=True), "the second operand was written"


def result(kernel: Kernel, problem: Conv, first: Any, second: Any, threads: int = 1, **epilogue: Any) -> Any:
    """What ``kernel`` computes, in a guarded array."""
    _, _, shape = shapes(kernel.direction, problem)
    plan = kernel.plan(problem, threads)
    with guarded(shape, problem.dtype, complete=bool(np.isfinite(first).all() and np.isfinite(second).all())) as out:
        launch(plan, kernel.direction, first, second, out, **epilogue)
    return out


def truth(direction: str, problem: Conv, first: Any, second: Any) -> Any:
    """The reference in float64."""
    return getattr(reference, direction)(first.astype("float64"), second.astype("float64"), problem)


def bound(kernel: Kernel, problem: Conv, first: Any, second: Any) -> Any:
    """What rounding may do: the kernel's factor times gamma_K times the sum of the products' sizes.

    In float64 the truth is itself rounded, and has the same bound.
    """
    factor = kernel.accuracy + (problem.dtype == "float64")
    sizes = truth(kernel.direction, problem, abs(first), abs(second))
    return (factor * gamma(terms(kernel.direction, problem), problem.dtype) + kernel.product_error) * sizes


def agrees(name: str, problem: Conv, fill: Any) -> None:
    """Assert that the kernel called ``name`` computes ``problem``: to the bit if it only sums and ``fill`` gives integers."""
    kernel = NAMES[name]
    first, second = operands(kernel.direction, problem, fill)
    expected = truth(kernel.direction, problem, first, second)
    got = result(kernel, problem, first, second)
    exact = kernel.exact and fill.__name__ == "integers"
    allowed = 0.0 if exact else bound(kernel, problem, first, second)
    repeat = f"from conv_cases import *; import guarded; agrees({name!r}, {problem!r}, guarded.{fill.__name__})"
    within(got, expected, allowed, repeat)

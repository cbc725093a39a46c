"""The cost model of convolution: what it counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastconv.dispatch import Conv, Kernel
from fastconv_kernels.conv import BACKWARD_INPUT, BACKWARD_WEIGHT, FORWARD
from fastconv_kernels.conv.work import WORK
from fastconv_kernels.registry import fastest

PROBLEM = Conv(4, 64, 28, 28, 96, 3, 3, padding=((1, 1), (1, 1)), layout="NHWC")


def test_lanes_without_a_channel_are_counted() -> None:
    narrow, wide = (WORK["implicit_gemm"](replace(PROBLEM, K=K), "forward")["products"] for K in (1, 16))
    assert narrow == wide or narrow == wide / 4 or narrow == wide / 2  # one vector of 16, 8 or 4 lanes


def test_rows_of_a_tile_without_a_channel_are_counted_in_the_gradient_of_the_weight() -> None:
    depthwise, grouped = (replace(PROBLEM, C=C, K=64, groups=64) for C in (64, 512))
    few, eight = (WORK["implicit_gemm"](problem, "backward_weight")["products"] for problem in (depthwise, grouped))
    assert few == eight


def test_winograd_multiplies_less_but_transforms() -> None:
    plain, four, two = (WORK[name](PROBLEM, "forward")["products"] for name in ("implicit_gemm", "winograd", "winograd_2x2"))
    assert plain / four == pytest.approx(4.0, rel=0.02)
    assert plain / two == pytest.approx(2.25, rel=0.02)


def test_filters_that_no_cache_holds_are_transformed_in_every_call() -> None:
    few, many = (WORK["winograd"](replace(PROBLEM, C=C, K=C), "forward") for C in (64, 8192))
    assert [unit in few for unit in ("filters", "panels")] == [True, False]
    assert [unit in many for unit in ("filters", "panels")] == [False, True]


def test_filters_that_are_many_are_transformed_for_each_block_of_patches() -> None:
    def panels(N: int, C: int) -> float:
        return WORK["winograd"](replace(PROBLEM, N=N, C=C, K=C), "forward")["panels"]

    assert panels(16, 8192) > panels(1, 8192)
    planes, pixels = (WORK["winograd"](PROBLEM.with_layout(layout), "forward") for layout in ("NCHW", "NHWC"))
    assert ("ordered" in planes, "ordered" in pixels) == (True, False)


@pytest.mark.parametrize("shape", [(14, 14), (7, 13), (28, 9)])
@pytest.mark.parametrize("table", [FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT], ids=["forward", "input", "weight"])
def test_points_are_counted_that_patches_meet(table: list[Kernel], shape: tuple[int, int]) -> None:
    """As the plan has them: fewer where an image ends within a patch."""
    problem = replace(PROBLEM, H=shape[0], W=shape[1])
    (kernel,) = [kernel for kernel in table if kernel.algorithm == "winograd"]
    plan = kernel.made(kernel.in_layout(problem), 1)
    patches, side, met = plan.source, 6, 1
    for count, full, ends in (
        (patches.down, patches.full_down, plan.ends.down),
        (patches.across, patches.full_across, plan.ends.across),
    ):
        met *= full * side + (count - full) * ends.bit_count()
    counted = WORK["winograd"](kernel.in_layout(problem), kernel.direction)["products"]
    assert counted == problem.N * met * problem.C * problem.K


def test_of_two_that_are_as_fast_the_one_that_only_sums() -> None:
    """Whichever stands first."""

    def kernel(accuracy: float, seconds: float) -> Kernel:
        costs = {"products": seconds * 1e9}
        return Kernel("conv", "forward", "", "cpu", print, accuracy=accuracy, work=lambda _: {"products": 1}, costs=costs)

    plain, near, far = kernel(1, 1.0), kernel(4, 0.97), kernel(4, 0.9)
    for others, expected in ((near, plain), (far, far)):
        assert fastest([plain, others], PROBLEM) is expected
        assert fastest([others, plain], PROBLEM) is expected


@pytest.mark.parametrize("table", [FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT], ids=["forward", "input", "weight"])
def test_every_kernel_predicts_its_time(table: list[Kernel]) -> None:
    """But the first, which takes only what it is certainly the fastest for."""
    assert table[0].algorithm == "matmul"
    assert table[0].work is None
    for kernel in table[1:]:
        for problem in (PROBLEM, PROBLEM.with_layout("NCHW"), replace(PROBLEM, groups=2)):
            predicted = kernel.predicted(problem)
            assert (predicted is None) == (kernel.target != "cpu")
            assert predicted is None or 1e-5 < predicted < 1e-2

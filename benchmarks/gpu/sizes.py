"""Three classes of sizes: what a simulator can compute, what is around the tiles, and what makes a GPU work."""

from __future__ import annotations

from dataclasses import replace

from fastconv.bench.cases import cases as layers
from fastconv.dispatch import Conv, Pool

from .cases import Case
from .operators import batch_norm, conv, dropout, elementwise, matmul, maxout, pool, rows, transposition, update

ONE = ((1, 1), (1, 1))
BATCH = 64


def tiny() -> list[Case]:
    """Of every operator, with tails of every kind: for the simulator, too."""
    return [
        *(matmul(*size) for size in ((3, 5, 7), (9, 12, 4))),
        *conv("strided", Conv(2, 4, 5, 4, 8, 3, 3, stride=(2, 1), padding=ONE)),
        *conv("groups", Conv(1, 4, 4, 5, 6, 2, 2, dilation=(2, 1), groups=2)),
        *pool("max 3x3", Pool("max", 1, 4, 5, 6, 3, 3, (2, 2), ONE, layout="NHWC")),
        *pool("average 2x2", Pool("average", 1, 3, 4, 4, 2, 2, (2, 2), layout="NCHW")),
        *(case for function in ("relu", "gelu") for case in elementwise(function, 37)),
        *maxout(2, 3, 5, 2),
        *rows(3, 11),
        *batch_norm(2, 3, 5, "NCHW"),
        *batch_norm(2, 4, 3, "NHWC"),
        *update(37),
        dropout(39),
        *transposition(2, 3, 33),
    ]


def middle() -> list[Case]:
    """Around the tiles, with primes: some seconds of the references."""
    return [
        *(matmul(*size) for size in ((127, 129, 65), (256, 256, 256), (343, 65, 521), (1, 1030, 40), (1024, 1024, 1024))),
        *conv("3x3", Conv(3, 64, 28, 27, 96, 3, 3, padding=ONE)),
        *conv("stride 2", Conv(2, 32, 29, 31, 48, 3, 3, stride=(2, 2), padding=ONE)),
        *conv("dilated", Conv(1, 17, 19, 23, 31, 3, 2, dilation=(2, 3))),
        *conv("few channels", Conv(4, 1, 28, 28, 32, 5, 5)),
        *conv("1x1", Conv(4, 256, 14, 14, 65, 1, 1)),
        *conv("depthwise", Conv(2, 96, 28, 28, 96, 3, 3, padding=ONE, groups=96)),
        *pool("max 3x3", Pool("max", 4, 66, 29, 31, 3, 3, (2, 2), ONE, layout="NHWC")),
        *pool("max 2x2, planes", Pool("max", 4, 33, 28, 28, 2, 2, (2, 2), layout="NCHW")),
        *pool("average 3x3", Pool("average", 4, 33, 28, 28, 3, 3, (2, 2), layout="NCHW")),
        *(case for function in ("leaky_relu", "elu", "sigmoid", "tanh", "silu") for case in elementwise(function, 100_003)),
        *maxout(17, 33, 61, 3),
        *rows(1000, 1000),
        *batch_norm(16, 67, 777, "NCHW"),
        *batch_norm(16, 68, 777, "NHWC"),
        *update(1_000_003),
        dropout(1_000_003),
        *transposition(5, 67, 781),
    ]


def large() -> list[Case]:
    """What is timed: what the bars are about, then the rest."""
    return [
        *of_suite("product 4096", [matmul(4096, 4096, 4096)]),
        *of_suite("product 8192", [matmul(8192, 8192, 8192)], "fp32", "tf32", "bf16", "fp16"),
        *of_suite("memory", of_memory()),
        *resnet(),
        *others(),
    ]


def of_suite(suite: str, cases: list[Case], *precisions: str) -> list[Case]:
    """``cases`` that count for the bars of a suite; with the kernels that would be chosen for ``precisions``, or with all."""
    return [replace(case, suite=suite, precisions=precisions) for case in cases]


def resnet() -> list[Case]:
    """The convolutions of ResNet-50 at batch 64."""
    found = []
    for layer in layers("conv", "forward", ["resnet50"], BATCH):
        for case in conv(layer.text, layer.problem):
            said = "forward" if case.direction == "forward" else "backward"
            found += of_suite(f"ResNet-50 {said}", [case], "fp32", "tf32", "bf16")
    return found


def others() -> list[Case]:
    """As many elements as make a GPU work, for every kernel: tests compute them all."""
    return [
        *(matmul(*size) for size in ((2048, 2048, 2048), (8192, 128, 1024))),
        *conv("n32 c64 56x56 k64 3x3 p1", Conv(32, 64, 56, 56, 64, 3, 3, padding=ONE)),
        *conv("n32 c256 14x14 k256 3x3 p1", Conv(32, 256, 14, 14, 256, 3, 3, padding=ONE)),
        *conv("n32 c256 56x56 k64 1x1", Conv(32, 256, 56, 56, 64, 1, 1)),
        *conv("n32 c3 224x224 k64 7x7 p3 s2", Conv(32, 3, 224, 224, 64, 7, 7, (2, 2), ((3, 3), (3, 3)))),
        *pool("n32 c64 112x112 3x3 s2 p1", Pool("max", 32, 64, 112, 112, 3, 3, (2, 2), ONE, layout="NHWC")),
    ]


def of_memory() -> list[Case]:
    """What memory alone limits: the arrays are some times as large as a level-2 cache."""
    return [
        *pool("n64 c64 112x112 3x3 s2 p1", Pool("max", 64, 64, 112, 112, 3, 3, (2, 2), ONE, layout="NHWC")),
        *elementwise("relu", 1 << 26),
        *batch_norm(64, 256, 3136, "NHWC"),
        *update(1 << 26),
        dropout(1 << 26),
        *transposition(64, 256, 3136),
    ]

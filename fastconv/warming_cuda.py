"""What ``fastconv.warmup`` compiles for CUDA: trainings of models, and calls in shapes that choose the kernels' variants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import dispatch, functional
from .functional.rehearsal import nowhere

Step = tuple[str, Callable[[], object]]

PRODUCTS = (4096, 4096, 4096), (1024, 1024, 1024), (128, 128, 1024), (101, 103, 107)
"""M, N, K: those of each tile, and one whose rows begin anywhere."""

CONVOLUTIONS = (
    ((64, 64, 56, 56), 64, 3, 1, 1),
    ((64, 256, 14, 14), 256, 3, 1, 1),
    ((64, 256, 56, 56), 64, 1, 1, 1),
    ((64, 3, 224, 224), 64, 7, 2, 1),
    ((128, 1, 28, 28), 32, 3, 1, 1),
    ((64, 128, 28, 28), 128, 3, 1, 128),
)
"""Images, filters, their size, stride and groups: layers of ResNet, MobileNet and of networks for MNIST."""

ACTIVATIONS = "relu", "gelu", "silu", "sigmoid", "tanh", "elu", "leaky_relu"


TRAINED, TESTED = 60_000, 10_000
"""Images of MNIST: kernels are chosen by the sizes of batches, and each epoch has a last, smaller one."""


def steps(models: Sequence[str], precisions: Sequence[str]) -> Iterator[Step]:
    """(what it is, a call to rehearse): what ``fastconv train --target cuda`` does with MNIST, then the public calls."""
    for precision in precisions:
        for name in models:
            yield f"training {name} {precision}", partial(train, name, precision)
    yield from _calls(precisions)


def train(name: str, precision: str) -> None:
    """One batch of each size that an epoch and the evaluation have, of black images."""
    from . import zoo

    recipe = zoo.RECIPES[name]
    counts = [recipe.batch_size + images % recipe.batch_size for images in (TRAINED, TESTED)]
    given = [(np.zeros((count, 1, 28, 28), np.uint8), np.zeros(count, np.int64)) for count in counts]
    with dispatch.use(precision=precision):
        model = zoo.build(name)
        model.compile(recipe.make_optimizer(), target="cuda")
        model.fit(*given[0], epochs=1, batch_size=recipe.batch_size, validation_data=given[1], verbose=0)
        model.predict_proba(given[1][0][:1])


def _calls(precisions: Sequence[str]) -> Iterator[Step]:
    for precision in precisions:
        for M, N, K in PRODUCTS:
            a, b, bias = nowhere(M, K), nowhere(K, N), nowhere(N)
            yield f"matmul {M}x{N}x{K} {precision}", partial(functional.matmul, a, b, precision=precision)
            layer = partial(functional.linear, a, nowhere(N, K), bias, activation="relu", precision=precision)
            yield f"linear {M}x{N}x{K} {precision}", layer
        for shape, filters, size, stride, groups in CONVOLUTIONS:
            label = f"{shape[1]} to {filters} channels, {size}x{size}, {precision}"
            yield from _convolution(label, shape, filters, size, stride, groups, precision)
    yield from _streams()


def _convolution(
    label: str, shape: tuple[int, ...], filters: int, size: int, stride: int, groups: int, precision: str
) -> Iterator[Step]:
    """A convolution in both layouts and its gradients."""
    N, C, H, W = shape
    padding, P, Q = size // 2, -(-H // stride), -(-W // stride)
    about: dict[str, Any] = {"stride": stride, "padding": padding, "groups": groups, "precision": precision}
    depth, bias = C // groups, nowhere(filters)
    yield (
        f"conv2d {label}, NCHW",
        partial(functional.conv2d, nowhere(*shape), nowhere(filters, depth, size, size), bias, **about),
    )
    about["layout"] = "NHWC"
    x, weight, grad = nowhere(N, H, W, C), nowhere(size, size, depth, filters), nowhere(N, P, Q, filters)
    yield f"conv2d {label}", partial(functional.conv2d, x, weight, bias, activation="relu", **about)
    yield f"conv2d {label}, gradient of the input", partial(functional.conv2d_backward_input, grad, weight, x.shape, **about)
    weights = partial(functional.conv2d_backward_weight, grad, x, weight.shape, **about)
    yield f"conv2d {label}, gradient of the weight", weights


def _streams() -> Iterator[Step]:
    """What memory alone limits."""
    for name in ACTIVATIONS:
        x = nowhere(64, 64, 56, 56)
        yield name, partial(getattr(functional, name), x)
        yield f"{name}, backwards", partial(getattr(functional, f"{name}_backward"), x, x)
    for layout, shape in (("NCHW", (64, 64, 56, 56)), ("NHWC", (64, 56, 56, 64))):
        x = nowhere(*shape)
        half = nowhere(*(size // 2 if size == 56 else size for size in shape))
        yield f"max_pool2d {layout}", partial(functional.max_pool2d, x, 2, return_indices=True, layout=layout)
        places = nowhere(*half.shape, dtype="int64")
        back = partial(functional.max_pool2d_backward, half, places, shape, kernel_size=2, layout=layout)
        yield f"max_pool2d {layout}, backwards", back
        yield f"avg_pool2d {layout}", partial(functional.avg_pool2d, x, 2, layout=layout)
        yield f"avg_pool2d {layout}, backwards", partial(functional.avg_pool2d_backward, half, shape, 2, layout=layout)
        yield f"global_avg_pool {layout}", partial(functional.global_avg_pool, x, layout=layout)
        c = nowhere(64)
        for training in (False, True):
            norm = partial(functional.batch_norm, x, c, c, c, c, training, activation="relu", layout=layout)
            yield f"batch_norm {layout}{', training' if training else ''}", norm
        yield f"batch_norm {layout}, backwards", partial(functional.batch_norm_backward, x, x, c, c, c, y=x, layout=layout)
    rows = nowhere(128, 1000)
    for name in ("softmax", "log_softmax"):
        yield name, partial(getattr(functional, name), rows)
        yield f"{name}, backwards", partial(getattr(functional, f"{name}_backward"), rows, rows)
    yield "cross_entropy", partial(functional.cross_entropy, rows, [0] * 128)

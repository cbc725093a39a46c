"""The cases of each operator: how its plans are called, and with what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from fastconv import dispatch
from fastconv.dispatch import BatchNorm, Conv, Dropout, Elementwise, Matmul, Maxout, Pool, Rows, Transposition, Update

from .cases import Arguments, Array, Case


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Standard normal numbers."""
    return rng.standard_normal(shape, dtype=np.float32)


def nan(*shape: int) -> Array:
    """Room for a result."""
    return np.full(shape, np.nan, np.float32)


def _rooms(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], Arguments]:
    """Makes numbers for all but the last, which is room for a result."""
    return lambda rng: (*(normal(rng, *shape) for shape in shapes[:-1]), nan(*shapes[-1]))


def matmul(M: int, N: int, K: int) -> Case:
    """A product."""
    label, problem = f"{M}x{N}x{K}", Matmul(M, N, K)
    return Case("matmul", "forward", label, problem, _rooms((M, K), (K, N), (M, N)), (2,), terms=max(1, K))


def conv(label: str, problem: Conv) -> list[Case]:
    """A convolution in its three directions."""
    p = problem.with_layout("NHWC")
    x, w, y = p.x_shape, p.weight_shape, p.out_shape
    shapes = {"forward": (x, w, y), "backward_input": (y, w, x), "backward_weight": (y, x, w)}
    terms = {"forward": p.depth, "backward_input": p.K // p.groups * p.R * p.S, "backward_weight": p.N * p.P * p.Q}
    return [
        Case("conv", direction, label, p, _rooms(*of), (2,), terms=max(1, terms[direction]))
        for direction, of in shapes.items()
    ]


def pool(label: str, problem: Pool) -> list[Case]:
    """A pooling and its gradient."""
    p = problem
    whole = {"max": 0.0, "average": 3e-6}[p.mode]
    places = p.mode == "max"
    return [
        Case("pool", "forward", label, p, partial(_pooled, p), (1, 2) if places else (1,), tolerance=whole),
        Case("pool", "backward_input", label, p, partial(_unpooled, p), (2,) if places else (1,)),
    ]


def _pooled(p: Pool, rng: np.random.Generator) -> Arguments:
    room = nan(*p.out_shape)
    return (
        (normal(rng, *p.x_shape), room, np.zeros(p.out_shape, np.int64))
        if p.mode == "max"
        else (normal(rng, *p.x_shape), room)
    )


def _unpooled(p: Pool, rng: np.random.Generator) -> Arguments:
    grad, out = normal(rng, *p.out_shape), nan(*p.x_shape)
    if p.mode == "average":
        return grad, out
    one = replace(p, N=1)  # the others' maxima are where the first image's are, for which the reference takes long enough
    x, room, places = _pooled(one, rng)
    dispatch.kernels("pool", "forward")[-1].plan(one, 1)(x, room, places)
    return grad, np.repeat(places, p.N, 0), out


def elementwise(function: str, size: int) -> list[Case]:
    """An activation and its gradient."""
    p = Elementwise(function, size, parameter=0.5)

    def backward(rng: np.random.Generator) -> Arguments:
        x, y = normal(rng, size), nan(size)
        dispatch.kernels("elementwise", "forward")[-1].plan(p, 1)(x, y)
        return normal(rng, size), x, y, nan(size)

    label = f"{function} {size}"
    return [
        Case("elementwise", "forward", label, p, _rooms((size,), (size,)), (1,)),
        Case("elementwise", "backward_input", label, p, backward, (3,)),
    ]


def dropout(size: int) -> Case:
    """Dropout."""

    def make(rng: np.random.Generator) -> Arguments:
        return normal(rng, size), nan(size), (0x9ABCDEF0, 0x12345678), np.array([5])

    return Case("dropout", "forward", str(size), Dropout(size, 0.3), make, (1,))


def maxout(outer: int, channels: int, inner: int, pieces: int) -> list[Case]:
    """Maxout and its gradient."""
    p = Maxout(outer, channels, inner, pieces)
    label, x, y = f"{outer} of {channels}x{inner}, {pieces} pieces", p.x_shape, p.out_shape
    return [
        Case("maxout", "forward", label, p, _rooms(x, y), (1,), tolerance=0.0),
        Case("maxout", "backward_input", label, p, _rooms(y, x, x), (2,), tolerance=0.0),
    ]


def rows(count: int, columns: int) -> list[Case]:
    """What is computed row by row, or over all rows."""
    p, label = Rows(count, columns), f"{count}x{columns}"
    shape = count, columns
    found = []
    for operator in ("softmax", "log_softmax"):

        def backward(rng: np.random.Generator, operator: str = operator) -> Arguments:
            y = nan(*shape)
            dispatch.kernels(operator, "forward")[-1].plan(p, 1)(normal(rng, *shape), y)
            return normal(rng, *shape), y, nan(*shape)

        found.append(Case(operator, "forward", label, p, _rooms(shape, shape), (1,)))
        found.append(Case(operator, "backward_input", label, p, backward, (2,), tolerance=1e-5))

    def labelled(rng: np.random.Generator) -> Arguments:
        return normal(rng, *shape), rng.integers(0, columns, count), nan(count), nan(*shape)

    found.append(Case("cross_entropy", "forward", label, p, labelled, (2, 3)))
    return [*found, Case("channel_sum", "forward", label, p, _rooms(shape, (columns,)), (1,), terms=count)]


def batch_norm(images: int, channels: int, pixels: int, layout: str) -> list[Case]:
    """Normalisation in training and at inference, and its gradients, all with everything that they can have."""
    p, size = BatchNorm(images, channels, pixels, layout=layout), images * channels * pixels
    label, fused = f"n{images} c{channels} {pixels} {layout}", (True,)

    def given(rng: np.random.Generator) -> Arguments:
        return normal(rng, size), normal(rng, channels), normal(rng, channels)

    def forward(rng: np.random.Generator) -> Arguments:
        running = normal(rng, channels), np.abs(normal(rng, channels))
        return *given(rng), nan(size), nan(channels), nan(channels), *running, normal(rng, size), *fused

    def inference(rng: np.random.Generator) -> Arguments:
        return *given(rng), normal(rng, channels), 1 + np.abs(normal(rng, channels)), nan(size), normal(rng, size), *fused

    def backward(rng: np.random.Generator) -> Arguments:
        x, weight, _ = given(rng)
        statistics, sums = (normal(rng, channels), 1 + np.abs(normal(rng, channels))), (nan(channels), nan(channels))
        return normal(rng, size), x, weight, *statistics, nan(size), *sums, normal(rng, size), nan(size)

    return [
        Case("batch_norm", "forward", label, p, forward, (3, 4, 5, 6, 7), tolerance=1e-5),
        Case("batch_norm", "inference", label, p, inference, (5,), tolerance=1e-5),
        Case("batch_norm", "backward", label, p, backward, (5, 6, 7, 9), tolerance=2e-5),
    ]


def update(size: int) -> list[Case]:
    """A step of each optimizer."""
    p, label, rate = Update(size), str(size), ("learning_rate", 0.1)

    def moments(rng: np.random.Generator) -> Arguments:
        return normal(rng, size), normal(rng, size), normal(rng, size), np.abs(normal(rng, size))

    sgd = Case("sgd", "update", label, p, lambda rng: moments(rng)[:3], (0, 2), keywords=(rate, ("momentum", 0.9)))
    return [sgd, Case("adam", "update", label, p, moments, (0, 2, 3), keywords=(rate, ("step", 3)))]


def transposition(images: int, channels: int, pixels: int) -> list[Case]:
    """A change of layout, both ways."""
    p, label = Transposition(images, channels, pixels), f"n{images} c{channels} {pixels}"
    planes, points = (images, channels, pixels), (images, pixels, channels)
    both = ("nchw_to_nhwc", _rooms(planes, points)), ("nhwc_to_nchw", _rooms(points, planes))
    return [Case(operator, "forward", label, p, make, (1,), tolerance=0.0) for operator, make in both]

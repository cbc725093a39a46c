"""fastconv: its kernels in the layouts that they take, and the public calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

import fastconv as fc
from fastconv import dispatch, nn, zoo
from fastconv.bench.cases import RATE, Case, Training
from fastconv.errors import UnsupportedError

from . import Entry, our_streams
from .operands import TO_KCRS, TO_NCHW, Array, Operands, empty


def entry(
    case: Case,
    operands: Operands,
    threads: int,
    layout: str = "NHWC",
    algorithm: str | None = None,
    public: bool = False,
    willing: bool = False,
) -> Entry | None:
    """The kernel that is chosen, called as a network calls it, or with ``public`` the function that users call.

    ``layout`` is that of the images that are given and taken.  None where ``algorithm`` cannot compute the case, or, if it has
    to be ``willing``, would not be chosen; and where the kernel, not called by ``public``, takes another layout.
    """
    if case.operator == "stream":
        return our_streams.entry(case.problem, operands, threads, algorithm)
    if case.operator == "train":
        return training(case.problem, operands, threads)
    problem = case.problem if case.operator == "matmul" else case.problem.with_layout(layout)
    try:
        kernel = dispatch.choose(case.operator, case.direction, problem, algorithm=algorithm, prepared=case.packed)
    except UnsupportedError:
        if algorithm:
            return None
        raise
    if public:
        public_call, out = PUBLIC[case.operator, case.direction](problem, operands, algorithm)
        return Entry(public_call, partial(outward, out, case.direction, layout), kernel.name)
    own = kernel.in_layout(problem)
    if own != problem or (willing and kernel.declines(own)):
        return None
    call, out = KERNELS[case.operator, case.direction](kernel.made(own, threads, case.packed), own, operands, case.packed)
    return Entry(call, partial(outward, out, case.direction, layout), kernel.name)


def outward(out: Array, direction: str, layout: str, returned: Any) -> Array:
    """``out`` as every contestant is compared: NCHW or KCRS."""
    if layout == "NCHW" or out.ndim != 4:
        return out
    return out.transpose(TO_KCRS if direction == "backward_weight" else TO_NCHW)


Made = tuple[Callable[[], Any], Array]


def _conv_forward(plan: Any, problem: Any, operands: Operands, packed: bool) -> Made:
    out = empty(problem.out_shape, problem.dtype)
    return _with_weight(plan, operands.images("x", problem.layout), operands.weight(problem.layout), out, packed)


def _conv_backward_input(plan: Any, problem: Any, operands: Operands, packed: bool) -> Made:
    out = empty(problem.x_shape, problem.dtype)
    return _with_weight(plan, operands.images("grad", problem.layout), operands.weight(problem.layout), out, packed)


def _with_weight(plan: Any, images: Array, weight: Array, out: Array, packed: bool) -> Made:
    ready = plan.pack(weight)
    if packed:
        return partial(plan, images, ready, out), out

    def call() -> None:
        plan(images, plan.pack(weight, ready), out)

    return call, out


def _conv_backward_weight(plan: Any, problem: Any, operands: Operands, packed: bool) -> Made:
    out = empty(problem.weight_shape, problem.dtype)
    grad, x = (operands.images(name, problem.layout) for name in ("grad", "x"))
    return partial(plan, grad, x, out), out


def _pool_forward(plan: Any, problem: Any, operands: Operands, packed: bool) -> Made:
    out = empty(problem.out_shape, problem.dtype)
    return partial(plan, operands.images("x", problem.layout), out), out


def _pool_backward(plan: Any, problem: Any, operands: Operands, packed: bool) -> Made:
    out, grad = empty(problem.x_shape, problem.dtype), operands.images("grad", problem.layout)
    if problem.mode == "average":
        return partial(plan, grad, out), out
    return partial(plan, grad, _indices(problem, operands, np.int32), out), out


def _indices(problem: Any, operands: Operands, dtype: Any) -> Array:
    """Where the maxima are."""
    indices = empty(problem.out_shape, dtype)
    with dispatch.leased("pool", "forward", problem, threads=1) as plan:
        plan(operands.images("x", problem.layout), empty(problem.out_shape, problem.dtype), indices)
    return indices


def _matmul(plan: Any, problem: Any, operands: Operands, packed: bool) -> Made:
    out = empty((problem.M, problem.N), problem.dtype)
    return partial(plan, operands.matrix("a"), operands.matrix("b"), out), out


KERNELS: dict[tuple[str, str], Callable[..., Made]] = {
    ("conv", "forward"): _conv_forward,
    ("conv", "backward_input"): _conv_backward_input,
    ("conv", "backward_weight"): _conv_backward_weight,
    ("pool", "forward"): _pool_forward,
    ("pool", "backward_input"): _pool_backward,
    ("matmul", "forward"): _matmul,
}


def training(problem: Training, operands: Operands, threads: int, target: str = "cpu") -> Entry:
    """``fit`` on a few batches, without shuffling."""
    model = zoo.build(problem.model, problem.shape, problem.classes)
    model.compile(nn.Adam(RATE), metrics=[], threads=threads, target=target)
    images, labels = operands.samples()

    def call() -> Any:
        history = model.fit(images, labels, batch_size=problem.N, shuffle=False, verbose=0)
        return history.as_dict()["history"]["loss"][-1]

    return Entry(call, np.array, steps=problem.steps, tolerance=1e-3)


Called: TypeAlias = "tuple[partial[Any], Array]"
"""A public function with its arguments, and the array that it writes."""


def _window(problem: Any) -> dict[str, Any]:
    return {"stride": problem.stride, "padding": problem.padding, "layout": problem.layout}


def _public_conv(name: str, problem: Any, operands: Operands, algorithm: str | None) -> Called:
    window = _window(problem) | {"dilation": problem.dilation, "groups": problem.groups, "algorithm": algorithm}
    x, grad = (partial(operands.images, array, problem.layout) for array in ("x", "grad"))
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    if name == "forward":
        call, arguments, shape = fc.conv2d, (x(), operands.weight(problem.layout)), problem.out_shape
    elif name == "backward_input":
        shape = problem.x_shape
        call, arguments = fc.conv2d_backward_input, (grad(), operands.weight(problem.layout), shape)
    else:
        shape = problem.weight_shape
        call, arguments = fc.conv2d_backward_weight, (grad(), x(), shape)
    out = empty(shape, problem.dtype)
    return partial(call, *arguments, out=out, **window), out


def _public_pool(problem: Any, operands: Operands, algorithm: str | None) -> Called:
    out = empty(problem.out_shape, problem.dtype)
    call = fc.max_pool2d if problem.mode == "max" else fc.avg_pool2d
    window = _window(problem) | {"ceil_mode": problem.ceil}
    return partial(call, operands.images("x", problem.layout), (problem.R, problem.S), out=out, **window), out


def _public_pool_backward(problem: Any, operands: Operands, algorithm: str | None) -> Called:
    out, grad = empty(problem.x_shape, problem.dtype), operands.images("grad", problem.layout)
    window = _window(problem) | {"ceil_mode": problem.ceil, "kernel_size": (problem.R, problem.S), "out": out}
    if problem.mode == "average":
        return partial(fc.avg_pool2d_backward, grad, problem.x_shape, **window), out
    indices = _indices(problem, operands, np.int64)
    return partial(fc.max_pool2d_backward, grad, indices, problem.x_shape, **window), out


def _public_matmul(problem: Any, operands: Operands, algorithm: str | None) -> Called:
    out = empty((problem.M, problem.N), problem.dtype)
    return partial(fc.matmul, operands.matrix("a"), operands.matrix("b"), out=out, algorithm=algorithm), out


PUBLIC: dict[tuple[str, str], Callable[..., Called]] = {
    ("conv", "forward"): partial(_public_conv, "forward"),
    ("conv", "backward_input"): partial(_public_conv, "backward_input"),
    ("conv", "backward_weight"): partial(_public_conv, "backward_weight"),
    ("pool", "forward"): _public_pool,
    ("pool", "backward_input"): _public_pool_backward,
    ("matmul", "forward"): _public_matmul,
}

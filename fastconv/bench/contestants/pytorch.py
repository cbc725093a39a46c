"""PyTorch: its functions as a user without autograd calls them, in both memory formats."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from fastconv.bench.cases import RATE, Case, Training

from . import OPENMP_SPINS, Entry, pytorch_streams
from .networks import NETWORKS, network
from .operands import TO_NCHW, Operands

FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
aten = torch.ops.aten


def entry(case: Case, operands: Operands, threads: int, layout: str = "NCHW") -> Entry | None:
    """The call in a memory format; a convolution's ``packed`` weights in oneDNN's own form, as Inductor freezes them."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if case.operator == "matmul":
        a, b = (torch.from_numpy(operands.matrix(name)) for name in "ab")
        product = partial(torch.matmul, a, b, out=torch.empty(case.problem.M, case.problem.N))
        return Entry(product, _numbers, spins=OPENMP_SPINS)
    if case.operator == "stream":
        return pytorch_streams.entry(case.problem, operands)
    if case.operator == "train":
        return _training(case.problem, operands, layout)
    call = (_convolution if case.operator == "conv" else _pooling)(case, operands, layout)
    return Entry(call, _numbers, spins=OPENMP_SPINS)


def _numbers(result: Any) -> Any:
    return result.numpy()


def _images(operands: Operands, name: str, layout: str) -> Any:
    """x or grad, (N, C, H, W) with the strides of the layout."""
    images = torch.from_numpy(operands.images(name, layout))
    return images if layout == "NCHW" else images.permute(*TO_NCHW)


def _weight(operands: Operands, layout: str) -> Any:
    return operands.kept(
        ("torch weight", layout),
        lambda: torch.from_numpy(operands.weight("NCHW").copy()).contiguous(memory_format=FORMATS[layout]),
    )


def _symmetric(problem: Any) -> list[int]:
    (top, bottom), (left, right) = problem.padding
    assert top == bottom, "PyTorch pads both sides alike"
    assert left == right, "PyTorch pads both sides alike"
    return [top, left]


def _convolution(case: Case, operands: Operands, layout: str) -> Callable[[], Any]:
    problem, weight = case.problem, _weight(operands, layout)
    stride, padding, dilation = list(problem.stride), _symmetric(problem), list(problem.dilation)
    x = _images(operands, "x", layout)
    if case.direction == "forward" and case.packed:
        packed = torch._C._nn.mkldnn_reorder_conv2d_weight(
            weight.to_mkldnn(), padding, stride, dilation, problem.groups, list(x.shape)
        )
        convolve = torch.ops.mkldnn._convolution_pointwise
        return partial(convolve, x, packed, None, padding, stride, dilation, problem.groups, "none", [], "")
    if case.direction == "forward":
        return partial(functional.conv2d, x, weight, None, stride, padding, dilation, problem.groups)
    grad = _images(operands, "grad", layout)
    wanted = [case.direction == "backward_input", case.direction == "backward_weight", False]

    def backward() -> Any:
        return aten.convolution_backward(
            grad, x, weight, None, stride, padding, dilation, False, [0, 0], problem.groups, wanted
        )[0 if wanted[0] else 1]

    return backward


def _pooling(case: Case, operands: Operands, layout: str) -> Callable[[], Any]:
    problem = case.problem
    x, grad = (_images(operands, name, layout) for name in ("x", "grad"))
    kernel, stride = [problem.R, problem.S], list(problem.stride)
    padding, dilation = _symmetric(problem), list(problem.dilation)
    if problem.mode == "average":
        window = kernel, stride, padding, problem.ceil, problem.count_padding, None
        if case.direction == "forward":
            return partial(functional.avg_pool2d, x, *window)
        return partial(aten.avg_pool2d_backward, grad, x, *window)
    if case.direction == "forward":
        return partial(functional.max_pool2d, x, kernel, stride, padding, dilation, problem.ceil)
    indices = functional.max_pool2d(x, kernel, stride, padding, dilation, problem.ceil, return_indices=True)[1]
    return partial(aten.max_pool2d_with_indices_backward, grad, x, kernel, stride, padding, dilation, problem.ceil, indices)


def _training(problem: Training, operands: Operands, layout: str) -> Entry | None:
    """Steps with Adam's fused form, each batch put into the memory format first; None: ``networks`` has not got it."""
    if problem.model not in NETWORKS:
        return None
    memory = FORMATS[layout]
    model = network(problem).to(memory_format=memory)
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    images, labels = map(torch.from_numpy, operands.samples())

    def call() -> Any:
        total = 0.0
        for x, y in zip(images.split(problem.N), labels.split(problem.N), strict=True):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x.contiguous(memory_format=memory)), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / problem.steps

    return Entry(call, np.array, steps=problem.steps, spins=OPENMP_SPINS, tolerance=1e-3)

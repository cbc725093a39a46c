"""PyTorch's functions that are as fast as memory, on images in channels_last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from fastconv.bench.cases import RATE, Stream

from . import OPENMP_SPINS, Entry
from .operands import TO_NCHW, Operands
from .our_streams import MOMENTUM, labels

aten = torch.ops.aten
Call = Callable[[], Any]


class _Stream:
    """The arrays of a stream as tensors."""

    def __init__(self, stream: Stream, operands: Operands) -> None:
        self.stream, self._operands = stream, operands
        self.x, self.grad = (torch.from_numpy(operands.images(name, "NHWC")) for name in ("x", "grad"))
        self.rows, self.grad_rows = self.x.reshape(-1, stream.C), self.grad.reshape(-1, stream.C)

    def images(self, tensor: Any) -> Any:
        return tensor.permute(*TO_NCHW)


def _cross_entropy(s: _Stream) -> Call:
    logits, chosen = s.rows.clone().requires_grad_(), torch.from_numpy(labels(s.stream))

    def call() -> Any:
        logits.grad = None
        functional.cross_entropy(logits, chosen).backward()
        return logits.grad

    return call


def _optimizer(s: _Stream, make: Callable[..., Any]) -> Call:
    parameter = s.x.reshape(-1).clone().requires_grad_()
    parameter.grad = s.grad.reshape(-1)
    optimizer = make([parameter], RATE, fused=True)

    def call() -> Any:
        optimizer.step()
        return parameter.detach()

    return call


def _to_channels_last(s: _Stream) -> Call:
    x = torch.from_numpy(s._operands.images("x", "NCHW"))
    return lambda: x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def _batch_norm(s: _Stream) -> Call:
    one, zero = torch.ones(s.stream.C), torch.zeros(s.stream.C)
    x, grad, direction = s.images(s.x), s.images(s.grad), s.stream.direction
    if direction == "forward":
        return lambda: functional.batch_norm(x, None, None, one, zero, True).permute(0, 2, 3, 1)
    if direction == "inference":
        return lambda: functional.batch_norm(x, zero, one, one, zero, False).permute(0, 2, 3, 1)
    gradients = partial(aten.native_batch_norm_backward, grad, x, one, None, None, zero, one, True, 1e-5, [True, True, True])
    return lambda: gradients()[0].permute(0, 2, 3, 1)


STREAMS: dict[tuple[str, str], Callable[[_Stream], Call]] = {
    ("elementwise", "forward"): lambda s: partial(torch.relu, s.x),
    ("elementwise", "backward_input"): lambda s: partial(aten.threshold_backward, s.grad, torch.relu(s.x), 0),
    ("maxout", "forward"): lambda s: partial(torch.amax, s.rows.reshape(-1, s.stream.C // 2, 2), -1),
    ("softmax", "forward"): lambda s: partial(torch.softmax, s.rows, 1),
    ("softmax", "backward_input"): lambda s: partial(
        aten._softmax_backward_data, s.grad_rows, torch.softmax(s.rows, 1), 1, torch.float32
    ),
    ("log_softmax", "forward"): lambda s: partial(torch.log_softmax, s.rows, 1),
    ("log_softmax", "backward_input"): lambda s: partial(
        aten._log_softmax_backward_data, s.grad_rows, torch.log_softmax(s.rows, 1), 1, torch.float32
    ),
    ("cross_entropy", "forward"): _cross_entropy,
    ("channel_sum", "forward"): lambda s: partial(torch.sum, s.rows, 0),
    ("sgd", "update"): lambda s: _optimizer(s, partial(torch.optim.SGD, momentum=MOMENTUM)),
    ("adam", "update"): lambda s: _optimizer(s, torch.optim.Adam),
    ("nchw_to_nhwc", "forward"): _to_channels_last,
    ("nhwc_to_nchw", "forward"): lambda s: s.images(s.x).contiguous,
    ("batch_norm", "forward"): _batch_norm,
    ("batch_norm", "inference"): _batch_norm,
    ("batch_norm", "backward"): _batch_norm,
}


def entry(stream: Stream, operands: Operands) -> Entry | None:
    """The function that does the same; None: there is none."""
    make = STREAMS.get((stream.operator, stream.direction))
    return make and Entry(make(_Stream(stream, operands)), lambda result: result.reshape(-1).numpy(), spins=OPENMP_SPINS)

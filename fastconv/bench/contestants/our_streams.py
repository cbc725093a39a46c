"""fastconv's kernels that are as fast as memory: each with its arguments, on images with the channels last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastconv import dispatch
from fastconv.bench.cases import RATE, Stream
from fastconv.dispatch import BatchNorm, Elementwise, Maxout, Rows, Transposition, Update

from . import Entry
from .operands import Array, Operands, empty

MOMENTUM = 0.9
"""Of SGD."""


class _Stream:
    """The arrays of a stream and a plan for its problem."""

    def __init__(self, stream: Stream, operands: Operands, threads: int, algorithm: str | None) -> None:
        self.stream, self._operands = stream, operands
        self._threads, self._algorithm = threads, algorithm
        self.pixels = stream.N * stream.H * stream.W
        self.size = self.pixels * stream.C
        self.kernel = ""

    def array(self, name: str) -> Array:
        return self._operands.images(name, "NHWC")

    def plan(self, problem: Any, direction: str | None = None) -> Any:
        """The kernel's plan; ``self.kernel`` is the one of the stream itself."""
        operator, direction = self.stream.operator, direction or self.stream.direction
        if direction == self.stream.direction:
            self.kernel = dispatch.choose(operator, direction, problem, algorithm=self._algorithm).name
        return dispatch.plan_for(operator, direction, problem, algorithm=self._algorithm, threads=self._threads)

    def new(self, *shape: int) -> Array:
        return empty(shape or self.array("x").shape)


Made = tuple[Callable[[], Any], Array]


def _relu(s: _Stream) -> Made:
    plan, out = s.plan(Elementwise("relu", s.size)), s.new()
    return partial(plan, s.array("x"), out), out


def _relu_backward(s: _Stream) -> Made:
    plan, out, y = s.plan(Elementwise("relu", s.size)), s.new(), np.maximum(s.array("x"), 0)
    return partial(plan, s.array("grad"), s.array("x"), y, out), out


def _maxout(s: _Stream) -> Made:
    problem = Maxout(s.pixels, s.stream.C // 2, 1, 2)
    out, x = s.new(*problem.out_shape), s.array("x").reshape(problem.x_shape)
    return partial(s.plan(problem), x, out), out


def _maxout_backward(s: _Stream) -> Made:
    problem = Maxout(s.pixels, s.stream.C // 2, 1, 2)
    out, x = s.new(*problem.x_shape), s.array("x").reshape(problem.x_shape)
    grad = s.array("grad").reshape(-1)[: x.size // 2].reshape(problem.out_shape)
    return partial(s.plan(problem), grad, x, out), out


def _rows(s: _Stream) -> Made:
    """Softmax or its logarithm."""
    plan, out = s.plan(Rows(s.pixels, s.stream.C)), s.new(s.pixels, s.stream.C)
    return partial(plan, s.array("x").reshape(out.shape), out), out


def _rows_backward(s: _Stream) -> Made:
    problem = Rows(s.pixels, s.stream.C)
    out, y = s.new(s.pixels, s.stream.C), s.new(s.pixels, s.stream.C)
    s.plan(problem, "forward")(s.array("x").reshape(out.shape), y)
    return partial(s.plan(problem), s.array("grad").reshape(out.shape), y, out), out


def labels(stream: Stream) -> Array:
    """A class for each pixel."""
    return np.random.default_rng(0).integers(0, stream.C, stream.N * stream.H * stream.W)


def _cross_entropy(s: _Stream) -> Made:
    plan, out = s.plan(Rows(s.pixels, s.stream.C)), s.new(s.pixels, s.stream.C)
    return partial(plan, s.array("x").reshape(out.shape), labels(s.stream), s.new(s.pixels), out), out


def _channel_sum(s: _Stream) -> Made:
    plan, out = s.plan(Rows(s.pixels, s.stream.C)), s.new(s.stream.C)
    return partial(plan, s.array("x").reshape(s.pixels, s.stream.C), out), out


def _sgd(s: _Stream) -> Made:
    plan, parameters, velocity = s.plan(Update(s.size)), s.array("x").reshape(-1).copy(), np.zeros(s.size, np.float32)
    gradients = s.array("grad").reshape(-1)
    return partial(plan, parameters, gradients, velocity, learning_rate=RATE, momentum=MOMENTUM), parameters


def _adam(s: _Stream) -> Made:
    plan, parameters = s.plan(Update(s.size)), s.array("x").reshape(-1).copy()
    mean, square = np.zeros(s.size, np.float32), np.zeros(s.size, np.float32)
    gradients = s.array("grad").reshape(-1)
    return partial(plan, parameters, gradients, mean, square, step=1, learning_rate=RATE), parameters


def _swap(s: _Stream) -> Made:
    """From one layout to the other."""
    problem = Transposition(s.stream.N, s.stream.C, s.stream.H * s.stream.W)
    channels_first, channels_last = (s.stream.N, s.stream.C, -1), (s.stream.N, -1, s.stream.C)
    there = s.stream.operator == "nchw_to_nhwc"
    x = s._operands.images("x", "NCHW" if there else "NHWC").reshape(channels_first if there else channels_last)
    out = s.new(*x.transpose(0, 2, 1).shape)
    return partial(s.plan(problem), x, out), out


def _batch_norm(s: _Stream) -> Made:
    plan, out, channels = s.plan(_norm(s)), s.new(), s.stream.C
    weight, bias, mean, inverse = np.ones(channels, np.float32), *(np.zeros(channels, np.float32) for _ in range(3))
    return partial(plan, s.array("x"), weight, bias, out, mean, inverse), out


def _batch_norm_inference(s: _Stream) -> Made:
    plan, out, channels = s.plan(_norm(s)), s.new(), s.stream.C
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return partial(plan, s.array("x"), one, zero, zero, one, out), out


def _batch_norm_backward(s: _Stream) -> Made:
    plan, out, channels = s.plan(_norm(s)), s.new(), s.stream.C
    one, zero = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return partial(plan, s.array("grad"), s.array("x"), one, zero, one, out, zero.copy(), zero.copy()), out


def _norm(s: _Stream) -> BatchNorm:
    return BatchNorm(s.stream.N, s.stream.C, s.stream.H * s.stream.W, layout="NHWC")


STREAMS: dict[tuple[str, str], Callable[[_Stream], Made]] = {
    ("elementwise", "forward"): _relu,
    ("elementwise", "backward_input"): _relu_backward,
    ("maxout", "forward"): _maxout,
    ("maxout", "backward_input"): _maxout_backward,
    ("softmax", "forward"): _rows,
    ("softmax", "backward_input"): _rows_backward,
    ("log_softmax", "forward"): _rows,
    ("log_softmax", "backward_input"): _rows_backward,
    ("cross_entropy", "forward"): _cross_entropy,
    ("channel_sum", "forward"): _channel_sum,
    ("sgd", "update"): _sgd,
    ("adam", "update"): _adam,
    ("nchw_to_nhwc", "forward"): _swap,
    ("nhwc_to_nchw", "forward"): _swap,
    ("batch_norm", "forward"): _batch_norm,
    ("batch_norm", "inference"): _batch_norm_inference,
    ("batch_norm", "backward"): _batch_norm_backward,
}


def entry(stream: Stream, operands: Operands, threads: int, algorithm: str | None = None) -> Entry:
    """The kernel that is chosen."""
    made = _Stream(stream, operands, threads, algorithm)
    call, out = STREAMS[stream.operator, stream.direction](made)
    return Entry(call, lambda _: out.reshape(-1), made.kernel)

"""Whatever a caller may get wrong in a call: a clear error that begins with the argument's name, and nothing touched."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, DtypeError, FastconvError, TargetUnavailableError, UnsupportedError

X, W, B, G = (np.ones(shape, "float32") for shape in ((2, 4, 8, 9), (6, 4, 3, 3), (6,), (2, 6, 6, 7)))
A, M = np.ones((3, 4), "float32"), np.ones((4, 5), "float32")


def out(*shape: int, dtype: Any = "float32") -> Any:
    return np.full(shape, 7, dtype)


def locked(array: Any) -> Any:
    array.flags.writeable = False
    return array


CASES: dict[str, tuple[type[FastconvError], str, Callable[[], Any]]] = {
    # convolution: ranks, channels, bias
    "x of two axes": (ArgumentError, "x: expected (N, C, H, W)", lambda: fc.conv2d(X[0, 0], W)),
    "x of five axes": (ArgumentError, "x: expected (N, C, H, W)", lambda: fc.conv2d(X[None], W)),
    "x of two axes, NHWC": (ArgumentError, "x: expected (N, H, W, C)", lambda: fc.conv2d(X[0, 0], W, layout="NHWC")),
    "weight of three axes": (ArgumentError, "weight: expected (K, C / groups, R, S)", lambda: fc.conv2d(X, W[0])),
    "channels": (ArgumentError, "weight: expected 4 channels", lambda: fc.conv2d(X, W[:, :3])),
    "channels of a group": (ArgumentError, "weight: expected 2 channels", lambda: fc.conv2d(X, W, groups=2)),
    "bias too long": (ArgumentError, "bias: expected shape (6,)", lambda: fc.conv2d(X, W, np.ones(7, "f4"))),
    "bias of two axes": (ArgumentError, "bias: expected shape (6,)", lambda: fc.conv2d(X, W, np.ones((6, 1), "f4"))),
    "residual": (ArgumentError, "residual: expected shape (2, 6, 6, 7)", lambda: fc.conv2d(X, W, residual=G[1:])),
    "no channels": (ArgumentError, "x: expected at least one channel", lambda: fc.conv2d(X[:, :0], W[:, :0])),
    "no outputs": (ArgumentError, "weight: expected at least one output channel", lambda: fc.conv2d(X, W[:0])),
    "no rows": (ArgumentError, "x: expected at least one channel, row", lambda: fc.conv2d(X[:, :, :0], W)),
    "no taps": (ArgumentError, "weight: expected numbers from 1", lambda: fc.conv2d(X, W[:, :, :0])),
    # convolution: numbers
    "groups do not divide": (ArgumentError, "groups: expected a divisor", lambda: fc.conv2d(X, W[:, :1], groups=3)),
    "groups do not divide K": (ArgumentError, "groups: expected a divisor", lambda: fc.conv2d(X, W[:5, :2], groups=2)),
    "no groups": (ArgumentError, "groups: expected an integer of at least 1", lambda: fc.conv2d(X, W, groups=0)),
    "half a group": (ArgumentError, "groups: expected an integer", lambda: fc.conv2d(X, W, groups=1.5)),  # type: ignore[arg-type]
    "stride 0": (ArgumentError, "stride: expected", lambda: fc.conv2d(X, W, stride=0)),
    "stride 0, same": (ArgumentError, "stride: expected", lambda: fc.conv2d(X, W, stride=(1, 0), padding="same")),
    "stride of three": (ArgumentError, "stride: expected", lambda: fc.conv2d(X, W, stride=(1, 1, 1))),  # type: ignore[arg-type]
    "stride 1.0": (ArgumentError, "stride: expected", lambda: fc.conv2d(X, W, stride=1.0)),  # type: ignore[arg-type]
    "stride True": (ArgumentError, "stride: expected", lambda: fc.conv2d(X, W, stride=True)),
    "stride beyond 64 bits": (ArgumentError, "stride: expected numbers from 1", lambda: fc.conv2d(X, W, stride=2**70)),
    "padding beyond memory": (ArgumentError, "padding: expected numbers from 0", lambda: fc.conv2d(X, W, padding=2**40)),
    "layout of an array": (ArgumentError, "layout: expected one of", lambda: fc.conv2d(X, W, layout=X)),  # type: ignore[arg-type]
    "dilation 0": (ArgumentError, "dilation: expected", lambda: fc.conv2d(X, W, dilation=(0, 1))),
    "negative padding": (
        ArgumentError,
        "padding: expected numbers from 0",
        lambda: fc.conv2d(X, W, padding=-1),
    ),
    "padding's word": (ArgumentError, "padding: expected", lambda: fc.conv2d(X, W, padding="full")),
    "padding of an array": (ArgumentError, "padding: expected", lambda: fc.conv2d(X, W, padding=np.array([1, 1]))),
    "padding of three": (ArgumentError, "padding: expected", lambda: fc.conv2d(X, W, padding=(1, 1, 1))),
    "padding of halves": (ArgumentError, "padding: expected", lambda: fc.conv2d(X, W, padding=0.5)),
    "padding None": (ArgumentError, "padding: expected", lambda: fc.conv2d(X, W, padding=None)),
    "kernel > image": (ArgumentError, "weight: a window of 9 pixels", lambda: fc.conv2d(X, np.ones((6, 4, 9, 3), "f4"))),
    "dilated > image": (ArgumentError, "weight: a window of 11 pixels", lambda: fc.conv2d(X, W, dilation=(1, 5))),
    # convolution: words
    "layout": (ArgumentError, "layout: expected one of NCHW, NHWC", lambda: fc.conv2d(X, W, layout="CHWN")),
    "padding mode": (
        ArgumentError,
        "padding_mode: expected one of zeros, reflect",
        lambda: fc.conv2d(X, W, padding_mode="edge"),
    ),
    "reflects too far": (ArgumentError, "padding: ", lambda: fc.conv2d(X, W, padding=8, padding_mode="reflect")),
    "circles too far": (ArgumentError, "padding: ", lambda: fc.conv2d(X, W, padding=9, padding_mode="circular")),
    "activation": (ArgumentError, "activation: expected one of None, relu", lambda: fc.conv2d(X, W, activation="rely")),
    "algorithm": (ArgumentError, "algorithm: expected one of", lambda: fc.conv2d(X, W, algorithm="fast")),
    "target": (ArgumentError, "target: expected one of", lambda: fc.conv2d(X, W, target="gpu")),
    "accuracy": (ArgumentError, "accuracy: expected one of", lambda: fc.conv2d(X, W, accuracy="best")),
    "precision": (ArgumentError, "precision: expected one of fp32", lambda: fc.conv2d(X, W, precision="fp8")),
    "cuda": (TargetUnavailableError, "target: cuda cannot be used", lambda: fc.conv2d(X, W, target="cuda")),
    "workspace below 0": (ArgumentError, "max_workspace_bytes: expected", lambda: fc.conv2d(X, W, max_workspace_bytes=-1)),
    "no such kernel there": (
        UnsupportedError,
        "no kernel computes",
        lambda: fc.conv2d(X, W, target="cpu", algorithm="reference"),
    ),
    # dtypes
    "float16": (DtypeError, "x: expected float32 or float64, got float16", lambda: fc.conv2d(X.astype("f2"), W)),
    "integers": (DtypeError, "x: expected float32 or float64, got int64", lambda: fc.conv2d(X.astype("i8"), W)),
    "complex": (DtypeError, "x: expected float32 or float64", lambda: fc.conv2d(X.astype("c8"), W)),
    "text": (DtypeError, "x: expected float32 or float64", lambda: fc.conv2d(X.astype("U3"), W)),
    "list": (DtypeError, "x: expected an array", lambda: fc.conv2d([[1.0]], W)),
    "None": (DtypeError, "weight: expected an array", lambda: fc.conv2d(X, None)),
    "weight's dtype": (DtypeError, "weight: expected float32", lambda: fc.conv2d(X, W.astype("f8"))),
    "bias's dtype": (DtypeError, "bias: expected float32", lambda: fc.conv2d(X, W, B.astype("f8"))),
    "residual's dtype": (DtypeError, "residual: expected float32", lambda: fc.conv2d(X, W, residual=G.astype("f8"))),
    # out
    "out's shape": (ArgumentError, "out: expected shape (2, 6, 6, 7)", lambda: fc.conv2d(X, W, out=out(2, 6, 7, 6))),
    "out's dtype": (ArgumentError, "out: expected float32", lambda: fc.conv2d(X, W, out=out(2, 6, 6, 7, dtype="f8"))),
    "out a list": (ArgumentError, "out: expected a NumPy array", lambda: fc.conv2d(X, W, out=[])),  # type: ignore[arg-type]
    "out read-only": (
        ArgumentError,
        "out: expected an array that can be",
        lambda: fc.conv2d(X, W, out=locked(out(2, 6, 6, 7))),
    ),
    "out with gaps": (ArgumentError, "out: expected a C-contiguous", lambda: fc.conv2d(X, W, out=out(2, 6, 6, 14)[..., ::2])),
    "out is the residual": (ArgumentError, "out: expected memory of its own", lambda: fc.conv2d(X, W, residual=G, out=G)),
    "out is x": (ArgumentError, "out: expected memory of its own", lambda: fc.conv2d(X, np.ones((4, 4, 1, 1), "f4"), out=X)),
    # the other directions
    "gradient's shape": (
        ArgumentError,
        "grad_output: expected shape (2, 6, 6, 7)",
        lambda: fc.conv2d_backward_input(G[..., 1:], W, X.shape),
    ),
    "input_shape of three": (
        ArgumentError,
        "input_shape: expected 4 sizes",
        lambda: fc.conv2d_backward_input(G, W, X.shape[1:]),
    ),
    "input_shape below 0": (
        ArgumentError,
        "input_shape: expected 4 sizes",
        lambda: fc.conv2d_backward_input(G, W, (2, 4, -8, 9)),
    ),
    "input_shape a number": (ArgumentError, "input_shape: expected 4 sizes", lambda: fc.conv2d_backward_input(G, W, 9)),
    "input's channels": (ArgumentError, "weight: expected 3", lambda: fc.conv2d_backward_input(G, W, (2, 3, 8, 9))),
    "input too small": (ArgumentError, "weight: a window", lambda: fc.conv2d_backward_input(G, W, (2, 4, 2, 9))),
    "weight_shape": (ArgumentError, "weight_shape: expected 4", lambda: fc.conv2d_backward_weight(G, X, (6, 3, 3, 3))),
    "weight_shape of two": (
        ArgumentError,
        "weight_shape: expected 4 sizes",
        lambda: fc.conv2d_backward_weight(G, X, (3, 3)),
    ),
    "gradient unlike x": (
        ArgumentError,
        "grad_output: expected shape",
        lambda: fc.conv2d_backward_weight(G[:1], X, W.shape),
    ),
    "one has a batch": (
        ArgumentError,
        "x: expected a batch axis exactly",
        lambda: fc.conv2d_backward_weight(G, X[0], W.shape),
    ),
    "gradient's dtype": (DtypeError, "x: expected float64", lambda: fc.conv2d_backward_weight(G.astype("f8"), X, W.shape)),
    "transposed channels": (ArgumentError, "weight: expected 4 input channels", lambda: fc.conv_transpose2d(X, W)),
    "output_padding": (ArgumentError, "output_padding: expected less", lambda: fc.conv_transpose2d(G, W, output_padding=1)),
    "transposed same": (ArgumentError, "padding: expected integers", lambda: fc.conv_transpose2d(G, W, padding="same")),
    "all cut off": (ArgumentError, "padding: cuts the whole", lambda: fc.conv_transpose2d(G, W, padding=4)),
    "transposed bias": (ArgumentError, "bias: expected shape (4,)", lambda: fc.conv_transpose2d(G, W, B)),
    "line of four axes": (ArgumentError, "x: expected 2 or 3 axes", lambda: fc.conv1d(X, W[0])),
    "stride of a line": (ArgumentError, "stride: expected an integer", lambda: fc.conv1d(X[0], W[0], stride=(1, 1))),  # type: ignore[arg-type]
    "plan's dtype": (DtypeError, "dtype: expected float32", lambda: fc.plan_conv2d(X.shape, W.shape, dtype="f2")),
    "plan's shape": (ArgumentError, "x_shape: expected 4 sizes", lambda: fc.plan_conv2d(X.shape[1:], W.shape)),
    "plan's threads": (ArgumentError, "threads: expected", lambda: fc.plan_conv2d(X.shape, W.shape, threads=0)),
    # matrix products
    "rows and columns": (ArgumentError, "b: expected 4 rows", lambda: fc.matmul(A, A)),
    "a number": (ArgumentError, "a: expected at least one axis", lambda: fc.matmul(np.float32(1), A)),
    "stacks": (ArgumentError, "b: expected leading axes", lambda: fc.matmul(np.ones((2, 3, 4)), np.ones((3, 4, 5)))),
    "b's dtype": (DtypeError, "b: expected float32", lambda: fc.matmul(A, M.astype("f8"))),
    "integer matrices": (DtypeError, "a: expected float32 or float64", lambda: fc.matmul(A.astype("i4"), M)),
    "product's shape": (ArgumentError, "out: expected shape (3, 5)", lambda: fc.matmul(A, M, out=out(5, 3))),
    "product is a": (ArgumentError, "out: expected memory of its own", lambda: fc.matmul(A, np.ones((4, 4), "f4"), out=A)),
    "features": (ArgumentError, "weight: expected (units, features)", lambda: fc.linear(A, M)),
    "linear's bias": (ArgumentError, "bias: expected shape (5,)", lambda: fc.linear(A, M.T, B)),
    "linear's activation": (ArgumentError, "activation: expected", lambda: fc.linear(A, M.T, activation="softplus")),
    # devices, explanations
    "to a device": (TargetUnavailableError, "device: cuda:0 cannot be used", lambda: fc.to_device(A)),
    "to the host": (DtypeError, "array: expected an array", lambda: fc.to_host([1])),
    "nothing to explain": (ArgumentError, "operator: expected", lambda: fc.explain(3)),
    "use": (ArgumentError, "accuracy: expected", lambda: fc.use(accuracy="bad")),
}


@pytest.mark.parametrize("name", CASES)
def test_is_refused(name: str) -> None:
    kind, message, call = CASES[name]
    before = X.copy(), G.copy(), A.copy()
    with pytest.raises(kind, match="^" + re.escape(message)):
        call()
    assert all(np.array_equal(array, copy) for array, copy in zip((X, G, A), before, strict=True)), "an argument was written"


def test_out_is_not_touched_by_a_refused_call() -> None:
    target = out(2, 6, 6, 7)
    for wrong in ({"stride": 0}, {"bias": np.ones(5, "f4")}, {"algorithm": "none"}, {"max_workspace_bytes": -1}):
        with pytest.raises(ArgumentError):
            fc.conv2d(X, W, out=target, **wrong)  # type: ignore[arg-type]
    assert (target == 7).all()


class OnDevice:
    """An array of a GPU library, as far as fastconv looks at it."""

    dtype, shape = np.dtype("float32"), (2, 4, 8, 9)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


def test_arrays_on_a_device() -> None:
    with pytest.raises(TargetUnavailableError, match=r"^x: lives on a CUDA device"):
        fc.conv2d(OnDevice(), W)
    with pytest.raises(TargetUnavailableError, match=r"^array: lives on a CUDA device"):
        fc.to_host(OnDevice())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_batch_of_nothing(layout: str) -> None:
    x, weight = (X[:0], W) if layout == "NCHW" else (X[:0].transpose(0, 2, 3, 1), W.transpose(2, 3, 1, 0))
    result = fc.conv2d(x, weight, layout=layout)
    assert result.shape == ((0, 6, 6, 7) if layout == "NCHW" else (0, 6, 7, 6))
    assert fc.conv2d_backward_input(result, weight, x.shape, layout=layout).shape == x.shape
    gradient = fc.conv2d_backward_weight(result, x, weight.shape, layout=layout)
    assert gradient.shape == weight.shape
    assert (gradient == 0).all()
    assert fc.conv2d(x, weight, layout=layout, padding=1, padding_mode="reflect").shape[0] == 0
    assert fc.linear(A[:0], M.T).shape == (0, 5)

"""Convolution, pooling and matrix products in pure Python and Numba, and a small network library on top.

``import fastconv as fc`` compiles nothing, imports no Numba and creates no CUDA context.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .dispatch import Conv, Matmul, Pool, use
from .errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    DataNotFoundError,
    DeviceError,
    DeviceMemoryError,
    DtypeError,
    FastconvError,
    MeasurementError,
    TargetUnavailableError,
    TrainingError,
    UnsupportedError,
)
from .explanation import explain, info
from .functional import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    adaptive_max_pool2d,
    avg_pool2d,
    avg_pool2d_backward,
    batch_norm,
    batch_norm_backward,
    conv1d,
    conv2d,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv_transpose2d,
    cross_entropy,
    dropout,
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    global_avg_pool,
    leaky_relu,
    leaky_relu_backward,
    linear,
    log_softmax,
    log_softmax_backward,
    matmul,
    max_pool2d,
    max_pool2d_backward,
    maxout,
    maxout_backward,
    plan_conv2d,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
    to_device,
    to_host,
)
from .warming import warmup

if TYPE_CHECKING:
    from . import data, nn, zoo

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "CheckpointError",
    "Conv",
    "DataError",
    "DataNotFoundError",
    "DeviceError",
    "DeviceMemoryError",
    "DtypeError",
    "FastconvError",
    "Matmul",
    "MeasurementError",
    "Pool",
    "TargetUnavailableError",
    "TrainingError",
    "UnsupportedError",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "conv1d",
    "conv2d",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv_transpose2d",
    "cross_entropy",
    "data",
    "dropout",
    "elu",
    "elu_backward",
    "explain",
    "gelu",
    "gelu_backward",
    "global_avg_pool",
    "info",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "log_softmax",
    "log_softmax_backward",
    "matmul",
    "max_pool2d",
    "max_pool2d_backward",
    "maxout",
    "maxout_backward",
    "nn",
    "plan_conv2d",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "softmax",
    "softmax_backward",
    "tanh",
    "tanh_backward",
    "to_device",
    "to_host",
    "use",
    "warmup",
    "zoo",
]

_LATER = ("data", "nn", "zoo")
"""Packages that are imported when they are first named: most users of the kernels need none of them."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

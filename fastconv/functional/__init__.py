"""The public calls: check the arguments, state the problem, choose a kernel, launch its plan.

Arrays may be NumPy's, or what NumPy can read without a copy; then the results are NumPy's.  Or all are on one CUDA device, of
any library with ``__cuda_array_interface__`` or DLPack: the results are then new arrays there, CuPy's or PyTorch's if the
first array is, made on that library's current stream, and nothing goes through the host.  (``cross_entropy``, which gives a
number, waits for it, and looks at the classes on the host.)
"""

from __future__ import annotations

from .activation import (
    elu,
    elu_backward,
    gelu,
    gelu_backward,
    leaky_relu,
    leaky_relu_backward,
    maxout,
    maxout_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    tanh,
    tanh_backward,
)
from .adaptive import adaptive_avg_pool2d, adaptive_avg_pool2d_backward, adaptive_max_pool2d, global_avg_pool
from .conv import conv1d, conv2d
from .conv_backward import conv2d_backward_input, conv2d_backward_weight, conv_transpose2d
from .dropout import dropout
from .loss import (
    cross_entropy,
    log_softmax,
    log_softmax_backward,
    softmax,
    softmax_backward,
)
from .matmul import linear, matmul
from .norm import batch_norm, batch_norm_backward
from .plans import ConvPlan, PackedWeight, plan_conv2d
from .pool import (
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from .transfer import to_device, to_host

__all__ = [
    "ConvPlan",
    "PackedWeight",
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
    "dropout",
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "global_avg_pool",
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
]

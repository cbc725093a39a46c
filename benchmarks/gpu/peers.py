"""What the vendor's libraries make of a case: cuBLAS and cuDNN through PyTorch, and CuPy; on the same numbers.

NOT YET RUN ON HARDWARE: written against PyTorch 2 and CuPy 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastconv.devices import simulated

from .cases import Array, Case

Calls = dict[str, Callable[[], Any]]


def calls(case: Case, precision: str) -> Calls:
    """Name → a call that starts the work on the default stream; products rounded as ``precision`` says."""
    found: Calls = {}
    if simulated():
        return found
    if (torch := _torch_with_device()) is not None:
        found |= _torch(torch, case, precision)
    if find_spec("cupy") and case.operator == "matmul" and precision == "fp32":
        found |= _cupy(case)
    return found


def _cupy(case: Case) -> Calls:
    import cupy

    a, b, out = map(cupy.asarray, case.arguments())
    return {"cupy": lambda: cupy.matmul(a, b, out=out)}


def _torch(torch: Any, case: Case, precision: str) -> Calls:
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    make = TORCH.get((case.operator, case.direction))
    if make is None:
        return {}
    call = make(torch, case, lambda array: torch.from_numpy(array).cuda().to(kind))

    def precise() -> Any:
        with _tf32(torch, precision == "tf32"):
            return call()

    return {"torch": precise}


def truth(case: Case, change: Callable[[Array], Array] = np.asarray) -> list[Array] | None:
    """What PyTorch computes in float64 of the case's floating-point arguments, changed; None: nothing, or not here.

    Products of large matrices, and convolutions, whose reference on the host would take minutes.
    """
    torch = _torch_with_device() if case.operator in ("matmul", "conv") else None
    return None if torch is None else exactly(torch, case, change, lambda array: torch.from_numpy(array).cuda())


def exactly(torch: Any, case: Case, change: Callable[[Array], Array], put: Callable[[Array], Any]) -> list[Array]:
    """The same, with arrays that are ``put`` where they are to be computed with."""
    call = TORCH[case.operator, case.direction](torch, case, lambda array: put(change(array.astype("float64"))))
    result = call().cpu().numpy()
    order = {"matmul": (0, 1), "conv": (2, 3, 1, 0) if case.direction == "backward_weight" else (0, 2, 3, 1)}[case.operator]
    return [np.ascontiguousarray(result.transpose(order))]


def _torch_with_device() -> Any:
    """PyTorch, if it has a device."""
    if simulated() or not find_spec("torch"):
        return None
    import torch

    return torch if torch.cuda.is_available() else None


@contextmanager
def _tf32(torch: Any, allowed: bool) -> Iterator[None]:
    """Products of TF32 in cuBLAS and cuDNN, or none."""
    both = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in both]
    for backend in both:
        backend.allow_tf32 = allowed
    try:
        yield
    finally:
        for backend, was in zip(both, before, strict=True):
            backend.allow_tf32 = was


def _matmul(torch: Any, case: Case, place: Any) -> Callable[[], Any]:
    a, b, out = map(place, case.arguments())
    return lambda: torch.matmul(a, b, out=out)


def _conv(torch: Any, case: Case, place: Any) -> Callable[[], Any]:
    """Images channels last, as our kernels have them; cuDNN may choose by measuring."""
    torch.backends.cudnn.benchmark = True
    p = case.problem
    first, second, _ = map(place, case.arguments())
    last = torch.channels_last
    padding = [before for before, _ in p.padding]
    window = {"stride": p.stride, "padding": padding, "dilation": p.dilation, "groups": p.groups}
    images = first.permute(0, 3, 1, 2).contiguous(memory_format=last)
    if case.direction == "backward_weight":
        x = second.permute(0, 3, 1, 2).contiguous(memory_format=last)
        return lambda: torch.nn.grad.conv2d_weight(x, (p.K, p.C // p.groups, p.R, p.S), images, **window)
    weight = second.permute(3, 2, 0, 1).contiguous(memory_format=last)
    if case.direction == "forward":
        return lambda: torch.nn.functional.conv2d(images, weight, **window)
    return lambda: torch.nn.grad.conv2d_input((p.N, p.C, p.H, p.W), weight, images, **window)


def _pool(torch: Any, case: Case, place: Any) -> Callable[[], Any]:
    p = case.problem
    x = place(case.arguments()[0])
    x = x.permute(0, 3, 1, 2) if p.layout == "NHWC" else x
    call = torch.nn.functional.max_pool2d if p.mode == "max" else torch.nn.functional.avg_pool2d
    padding = [before for before, _ in p.padding]
    more = {"return_indices": True} if p.mode == "max" else {}
    return lambda: call(x, (p.R, p.S), p.stride, padding, **more)


def _activation(torch: Any, case: Case, place: Any) -> Callable[[], Any]:
    x, p = place(case.arguments()[0]), case.problem
    call = getattr(torch.nn.functional, p.function)
    more = (p.parameter,) if p.function in ("leaky_relu", "elu") else ()
    return lambda: call(x, *more)


def _softmax(torch: Any, case: Case, place: Any) -> Callable[[], Any]:
    x = place(case.arguments()[0])
    call = getattr(torch, case.operator)
    return lambda: call(x, -1)


def _channel_sum(torch: Any, case: Case, place: Any) -> Callable[[], Any]:
    x = place(case.arguments()[0])
    return lambda: x.sum(0)


def _transposed(torch: Any, case: Case, place: Any) -> Callable[[], Any]:
    x, out = map(place, case.arguments())
    return lambda: out.copy_(x.transpose(1, 2))


TORCH: dict[tuple[str, str], Callable[[Any, Case, Any], Callable[[], Any]]] = {
    ("matmul", "forward"): _matmul,
    ("conv", "forward"): _conv,
    ("conv", "backward_input"): _conv,
    ("conv", "backward_weight"): _conv,
    ("pool", "forward"): _pool,
    ("elementwise", "forward"): _activation,
    ("softmax", "forward"): _softmax,
    ("log_softmax", "forward"): _softmax,
    ("channel_sum", "forward"): _channel_sum,
    ("nchw_to_nhwc", "forward"): _transposed,
    ("nhwc_to_nchw", "forward"): _transposed,
}
"""(operator, direction) → what makes a call of (torch, case, what brings an array to the device)."""

"""Where a call's arrays are: on the host, where nearly all of them are and nothing here runs, or on a device.

A public call is written once, with NumPy's arrays in mind.  When it comes upon an array of a device, or the kernel that was
asked for computes on one, it gives up with ``Elsewhere`` before anything is touched, and is called again: with its arrays as
``DeviceArray``, which answers NumPy's questions about shapes and memory, on the caller's current stream, and with kernels for
CUDA to choose from.  What it returns becomes an array of the caller's library, or NumPy's where its arrays were copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, wraps
from inspect import Parameter, signature
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from fastconv_kernels.cuda.device_array import LARGEST, DeviceArray, wrapped
from fastconv_kernels.registry import Refused

from ..devices import cuda_status, on_cuda
from ..dispatch import Elsewhere, settings, using_device
from ..errors import (
    ArgumentError,
    DeviceError,
    DeviceMemoryError,
    DtypeError,
    FastconvError,
    TargetUnavailableError,
    UnsupportedError,
)
from . import _check

Given = ParamSpec("Given")
Result = TypeVar("Result")
Arrays = Mapping[str, Any]

WRITTEN = "out", "grad_residual", "running_mean", "running_var"
"""Arguments that calls write; of ``out`` they read nothing."""

TOO_LARGE = "expected at most 2**31 - 1 elements, which kernels for CUDA count in 32 bits"

OF_CUDA = "cuda", "cupy", "cupy_backends", "torch"
"""Packages whose exceptions tell of a device or its driver; some are no ``RuntimeError``."""


def anywhere(call: Callable[Given, Result]) -> Callable[Given, Result]:
    """``call``, with arrays on a device too."""

    @wraps(call)
    def placed(*given: Given.args, **named: Given.kwargs) -> Result:
        try:
            return call(*given, **named)
        except Elsewhere:
            pass
        return cast("Result", elsewhere(call, given, named))

    return placed


def elsewhere(call: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """What ``call`` computes on the device where its arrays are, or to which the caller's target brings them.

    Raises
    ------
    ArgumentError
        Some arrays are on the device and some are not.
    TargetUnavailableError
        CUDA cannot be used here.
    DeviceError, DeviceMemoryError
        The device or its driver failed.
    """
    arguments, asked = _arguments(call, given, named)
    on_device = {name: value for name, value in arguments.items() if on_cuda(value)}
    arrays = {name: value for name, value in arguments.items() if name in on_device or _is_array(value)}
    there = next(iter(on_device), None)
    if there and asked not in (None, "auto", "cuda"):
        raise ArgumentError(f"target: expected cuda, where {there} lives, got {asked!r}")
    needs_cuda(f"{there}: lives on a CUDA device, which" if there else "target: cuda")
    with errors_of_the_device():
        placed = _on_their_device(arrays, on_device, there) if there else _copied(arrays)
        with working(next(iter(placed.values())), placed.values()):
            result = call(**{**arguments, **placed})
            written = {name: placed[name] for name in WRITTEN if name in placed}
            if not there:
                for name, copy in written.items():
                    fetched(copy, arrays[name])
            own = {id(copy.owner): arrays[name] for name, copy in written.items()}
            return _each(given_back if there else fetched, result, own)


@cache
def _form(call: Callable[..., Any]) -> tuple[tuple[str, ...], bool]:
    """(the names of a call's arguments, whether its target is a setting: cross_entropy's is what is to be learned)."""
    parameters = signature(call).parameters
    known = parameters.get("target")
    return tuple(parameters), known is None or known.kind is Parameter.KEYWORD_ONLY


def _arguments(
    call: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """(all that are given but the target, by name; the target that is asked for)."""
    names, has_target = _form(call)
    arguments = {**dict(zip(names, given, strict=False)), **named}
    asked = arguments.pop("target", None) if has_target else None
    return arguments, asked or getattr(arguments.get("self"), "target", None) or settings().target


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and not isinstance(value, np.generic)


def needs_cuda(what: str) -> None:
    """Raise ``TargetUnavailableError`` where CUDA cannot be used, ``what`` being said of."""
    if not (rehearsing() or cuda_status().available):
        raise TargetUnavailableError(f"{what} cannot be used: {cuda_status().reason}")


def rehearsing() -> bool:
    """Whether kernels are told of instead of being started, which needs no device."""
    from fastconv_kernels.cuda.launch import rehearsed

    return rehearsed.get() is not None


@contextmanager
def working(first: DeviceArray, arrays: Iterable[DeviceArray] = ()) -> Iterator[None]:
    """Run kernels where ``first`` is, on its library's current stream, behind the streams that ``arrays`` are made on."""
    from fastconv_kernels.cuda.launch import working_on

    stream = first.library.stream(first.device)
    made = {getattr(array.owner, "__cuda_array_interface__", {}).get("stream") for array in arrays}
    with using_device(first.device, stream), working_on(first.device, stream, sorted(made - {None, stream})):
        yield


@contextmanager
def errors_of_the_device() -> Iterator[None]:
    """Let what CUDA and its libraries raise be an error of ours; the host's kernels can be used all the same."""
    from fastconv_kernels.cuda.libraries import Missing

    try:
        yield
    except Refused as refused:
        raise UnsupportedError(str(refused)) from None
    except Missing as missing:
        raise TargetUnavailableError(f"target: cuda cannot be used: {missing}") from None
    except FastconvError:
        raise
    except Exception as error:
        if not (isinstance(error, (RuntimeError, MemoryError)) or type(error).__module__.partition(".")[0] in OF_CUDA):
            raise
        full = isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error) or "OutOfMemory" in type(error).__name__
        kind, what = (DeviceMemoryError, "has no memory left") if full else (DeviceError, "failed")
        raise kind(f"the CUDA device {what}: {error}") from error


def _each(change: Callable[[DeviceArray], Any], result: Any, own: Mapping[int, Any]) -> Any:
    """The result of a call, its arrays on a device changed; those of ``own`` owners are what the caller gave."""
    if isinstance(result, tuple):
        return tuple(_each(change, part, own) for part in result)
    if not isinstance(result, DeviceArray):
        return result
    return own[id(result.owner)] if id(result.owner) in own else change(result)


# ------------------------------------------------------------------------------------------------------- arrays of a device


def _on_their_device(arrays: Arrays, on_device: Arrays, first: str) -> dict[str, DeviceArray]:
    placed = {name: device_array(name, value) for name, value in on_device.items()}
    place = placed[first].device
    for name, value in placed.items():
        if not value.countable:
            raise ArgumentError(f"{name}: {TOO_LARGE}, got shape {value.shape} and strides {value.strides}")
    for name in arrays:
        if name not in placed:
            raise ArgumentError(f"{name}: expected an array on cuda:{place} as {first} is, got one of the host")
        if placed[name].device != place:
            raise ArgumentError(
                f"{name}: expected an array on cuda:{place} as {first} is, got one on cuda:{placed[name].device}"
            )
    return placed


def device_array(name: str, value: Any) -> DeviceArray:
    """An array of any library that lives on a CUDA device.

    Raises
    ------
    DtypeError
        Its library does not show its memory, as PyTorch where gradients are recorded.
    """
    from fastconv_kernels.cuda.libraries import Missing, on_device

    try:
        return on_device(value)
    except (Missing, Refused):
        raise
    except Exception as error:
        raise DtypeError(f"{name}: expected an array, but reading it as one fails: {error}") from error


def given_back(array: DeviceArray) -> Any:
    """As its own library's array."""
    from fastconv_kernels.cuda import libraries

    return libraries.given_back(array)


# -------------------------------------------------------------------------------- NumPy's arrays for kernels of a device


def copied_to(device: int, values: Any, fill: bool = True) -> DeviceArray:
    """A new array on a device, by default with a copy of ``values``, NumPy's."""
    from fastconv_kernels.cuda import libraries, transfers

    library = libraries.preferred()
    copy = wrapped(library.empty(values.shape, values.dtype, device), library)
    if fill and not rehearsing():
        with working(copy):
            transfers.fill(copy, np.ascontiguousarray(values))
    return copy


def fetched(array: DeviceArray, room: Any = None) -> Any:
    """A copy as NumPy's array: in ``room``, C-contiguous, if that is given."""
    from fastconv_kernels.cuda import transfers

    values = np.empty(array.shape, array.dtype) if room is None else room
    transfers.fetch(array, values)
    return values


def beside(place: Any, values: Any) -> Any:
    """``values``, NumPy's, where ``place`` is."""
    if not isinstance(place, DeviceArray):
        return values
    from fastconv_kernels.cuda import transfers

    copy = place.empty(values.shape, values.dtype)
    transfers.fill(copy, values)
    return copy


def on_host(array: Any) -> Any:
    """``array`` where NumPy can look at it."""
    return fetched(array) if isinstance(array, DeviceArray) else array


def _copied(arrays: Arrays) -> dict[str, DeviceArray]:
    """Copies on device 0 of arrays of the host; an array that is given twice has one."""
    hosts = {name: _check.host(name, value) for name, value in arrays.items()}
    for name, value in hosts.items():
        if value.size > LARGEST:
            raise ArgumentError(f"{name}: {TOO_LARGE}, got shape {value.shape}")
    placed: dict[str, DeviceArray] = {}
    for name, value in hosts.items():
        if name in WRITTEN:
            _check.refuse_output(arrays[name], value.shape, value.dtype.newbyteorder("="), name)
        for other, copy in placed.items():
            if _check.same_elements(value, hosts[other]):
                placed[name] = copy
                break
            if name in WRITTEN and np.may_share_memory(value, hosts[other]):
                raise ArgumentError(f"{name}: expected memory of its own, but it overlaps with {other}")
        else:
            native = value.astype(value.dtype.newbyteorder("="), copy=False)
            placed[name] = copied_to(0, native, fill=name != "out")
    return placed

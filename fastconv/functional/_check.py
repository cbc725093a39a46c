"""What a caller may pass, checked before anything is touched; every message begins with the argument's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy import ndarray  # for what is asked at every call

from fastconv_kernels.cuda.device_array import DeviceArray

from ..devices import on_cuda
from ..dispatch import FLOATS, LAYOUTS, Conv, Elsewhere, padding_pairs, uninitialised
from ..errors import ArgumentError, DtypeError

Array = np.ndarray[Any, np.dtype[Any]]
Ints = int | tuple[int, int]
Shape = tuple[int, ...]

NATIVE = tuple(map(np.dtype, FLOATS))

IMAGE_AXES = {"NCHW": "(N, C, H, W) or (C, H, W)", "NHWC": "(N, H, W, C) or (H, W, C)"}
WEIGHT_AXES = {"NCHW": "(K, C / groups, R, S)", "NHWC": "(R, S, C / groups, K)"}


def host(name: str, value: Any) -> Array:
    """``value`` as NumPy sees it, without a copy, whatever it is an array of.

    Raises
    ------
    Elsewhere
        It lives on a device.
    DtypeError
        It is no array.
    """
    if value.__class__ is DeviceArray:
        return cast("Array", value)  # it answers all that is asked of an array here
    if not isinstance(value, np.ndarray):
        if on_cuda(value):
            raise Elsewhere(f"{name}: lives on a CUDA device, the other arrays on the host")
        if not hasattr(value, "__array__"):
            raise DtypeError(f"{name}: expected an array of {' or '.join(FLOATS)}, got {type(value).__name__}")
        try:
            value = np.asarray(value)
        except Exception as error:
            raise DtypeError(f"{name}: expected an array, but reading it as one fails: {error}") from error
    return np.asarray(value)


def common_dtype(**dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """The one dtype of all arguments, float32 or float64, as NumPy's own object for it."""
    names = {name: dtype.newbyteorder("=").name for name, dtype in dtypes.items()}
    first, expected = next(iter(names.items()))
    for name, found in names.items():
        if found not in FLOATS:
            raise DtypeError(f"{name}: expected {' or '.join(FLOATS)}, got {dtypes[name]}")
        if found != expected:
            raise DtypeError(f"{name}: expected {expected} as {first} is, got {dtypes[name]}")
    return np.dtype(expected)


def array(name: str, value: Any, dtype: np.dtype[Any] | None = None) -> Array:
    """``value`` as NumPy sees it, without a copy: float32 or float64, and ``dtype`` if that is given."""
    values: Array = value if value.__class__ is ndarray else host(name, value)
    if values.dtype in NATIVE and (dtype is None or values.dtype == dtype):  # as nearly every array
        return values
    found = values.dtype.newbyteorder("=")
    if found.name not in FLOATS:
        raise DtypeError(f"{name}: expected {' or '.join(FLOATS)}, got {values.dtype}")
    if dtype is not None and found != dtype:
        raise DtypeError(f"{name}: expected {dtype} as the first argument is, got {values.dtype}")
    return values


def dtype_name(name: str, value: Any) -> str:
    """The name of what NumPy takes for one of them: "float32" or "float64"."""
    try:
        found = str(np.dtype(value).name)
    except TypeError:
        found = repr(value)
    if found not in FLOATS:
        raise DtypeError(f"{name}: expected {' or '.join(FLOATS)}, got {found}")
    return found


class _Writable:
    """Another name for a read-only array's memory: read by kernels, which are compiled for one kind of array alone."""

    def __init__(self, source: Array) -> None:
        self._source = source
        description = dict(source.__array_interface__)
        description["data"] = (description["data"][0], False)
        self.__array_interface__ = description


def usable(value: Array) -> Array:
    """``value`` as kernels read it: native, aligned; copied only if it is not.  Its strides stay."""
    if value.flags.behaved and value.dtype in NATIVE:  # which is to be written: what nearly every array is
        return value
    if not value.dtype.isnative or not value.flags.aligned:
        return value.astype(value.dtype.newbyteorder("="), order="K")
    return value if value.flags.writeable else np.asarray(_Writable(value))


def contiguous(value: Array) -> Array:
    """``value`` as kernels read it, C-contiguous; copied at most once."""
    if value.flags.c_contiguous:
        return usable(value)
    if isinstance(value, DeviceArray):
        return value.contiguous()
    return np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("="))


def shape(name: str, value: Any, lengths: tuple[int, ...]) -> Shape:
    """``value`` as a tuple of integers of at least 0, as many as ``lengths`` allows."""
    try:
        sizes = tuple(int(size) for size in value if integer(size))
        right = len(sizes) == len(tuple(value)) and len(sizes) in lengths and min(sizes, default=0) >= 0
    except TypeError:
        right = False
    if not right:
        raise ArgumentError(f"{name}: expected {' or '.join(map(str, lengths))} sizes of at least 0, got {value!r}")
    return sizes


def integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))


def pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """(vertical, horizontal) from an integer or a pair, each at least ``least``."""
    numbers = (value, value) if integer(value) else value
    if (
        not isinstance(numbers, (tuple, list))
        or len(numbers) != 2
        or not all(integer(number) and number >= least for number in numbers)
    ):
        raise ArgumentError(f"{name}: expected an integer or a pair of them, at least {least}, got {value!r}")
    return int(numbers[0]), int(numbers[1])


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if isinstance(value, np.ndarray) or value not in allowed:  # an array compares element by element
        raise ArgumentError(f"{name}: expected one of {', '.join(map(str, allowed))}, got {value!r}")


def images(name: str, value: Any, layout: str, dtype: np.dtype[Any] | None = None) -> tuple[Array, bool]:
    """(the images with a batch axis, whether they came with it)."""
    one_of("layout", layout, LAYOUTS)
    found = array(name, value, dtype)
    if found.ndim not in (3, 4):
        raise ArgumentError(f"{name}: expected {IMAGE_AXES[layout]}, got shape {found.shape}")
    return (found, True) if found.ndim == 4 else (found[None], False)


def weights(name: str, value: Any, layout: str, dtype: np.dtype[Any]) -> Array:
    found = array(name, value, dtype)
    if found.ndim != 4:
        raise ArgumentError(f"{name}: expected {WEIGHT_AXES[layout]}, got shape {found.shape}")
    return found


def shaped(name: str, value: Any, expected: Shape, dtype: np.dtype[Any]) -> Array:
    """``value``, which must have the shape ``expected``."""
    found = array(name, value, dtype)
    if found.shape != expected:
        raise ArgumentError(f"{name}: expected shape {expected}, got {found.shape}")
    return found


def new(expected: Shape, dtype: Any, beside: Array | None) -> Array:
    """A new array, its elements anything, where ``beside`` is."""
    if beside.__class__ is ndarray or not isinstance(beside, DeviceArray):
        return uninitialised(expected, dtype)
    return beside.empty(expected, dtype)


def ready(value: Any, expected: Shape, dtype: np.dtype[Any]) -> bool:
    """Whether it is an array of the host that kernels read and write as it is."""
    return value.__class__ is ndarray and value.dtype is dtype and value.shape == expected and value.flags.carray


def output(out: Array | None, expected: Shape, dtype: np.dtype[Any], inputs: Mapping[str, Array | None]) -> Array:
    """``out`` if it can be written in place, or a new array, where the first of ``inputs`` is, if it is None."""
    if out is None:
        return new(expected, dtype, next(iter(inputs.values())))
    if not ready(out, expected, dtype):
        refuse_output(out, expected, dtype)
    owner = out if out.base is None else out.base
    for name, value in inputs.items():
        if value is None:
            continue
        other = value if value.base is None else value.base
        # Arrays that own their memory share none; what else memory belongs to, nobody knows.
        if other is not owner and other.__class__ is owner.__class__ is ndarray and other.base is owner.base is None:
            continue
        if np.may_share_memory(out, value):
            raise ArgumentError(f"out: expected memory of its own, but it overlaps with {name}")
    return out


def refuse_output(out: Any, expected: Shape, dtype: np.dtype[Any], name: str = "out") -> None:
    """Say what is wrong with it; nothing, if it is of another class that has all that an array needs."""
    if not isinstance(out, (np.ndarray, DeviceArray)):
        raise ArgumentError(f"{name}: expected a NumPy array, got {type(out).__name__}")
    if out.dtype != dtype:
        raise ArgumentError(f"{name}: expected {dtype}, got {out.dtype}")
    if out.shape != expected:
        raise ArgumentError(f"{name}: expected shape {expected}, got {out.shape}")
    if not out.flags.writeable:
        raise ArgumentError(f"{name}: expected an array that can be written, got a read-only one")
    if not out.flags.carray:
        raise ArgumentError(f"{name}: expected a C-contiguous, aligned array, got strides {out.strides}")


def same_elements(a: Any, b: Any) -> bool:
    """Whether two arrays are the same elements in the same order."""
    if not (isinstance(a, (np.ndarray, DeviceArray)) and isinstance(b, (np.ndarray, DeviceArray))):
        return False
    return bool(_address(a) == _address(b) and (a.shape, a.strides, a.dtype) == (b.shape, b.strides, b.dtype))


def _address(array: Any) -> int:
    return int(array.address if isinstance(array, DeviceArray) else array.__array_interface__["data"][0])


def conv_problem(
    x_shape: Shape,
    weight_shape: Shape,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    dtype: str,
    layout: str,
    names: tuple[str, str] = ("x", "weight"),
) -> Conv:
    """The problem of a convolution, all its numbers checked; ``names`` are the caller's for input and weight."""
    stride, dilation = pair("stride", stride, 1), pair("dilation", dilation, 1)
    if not integer(groups) or groups < 1:
        raise ArgumentError(f"groups: expected an integer of at least 1, got {groups!r}")
    if layout == "NCHW":
        (N, C, H, W), (K, depth, R, S) = x_shape, weight_shape
    else:
        (N, H, W, C), (R, S, depth, K) = x_shape, weight_shape
    if C and C % groups == 0 and depth != C // groups:
        raise ArgumentError(
            f"{names[1]}: expected {C // groups} channels for each output channel (C / groups = {C} / {groups}), "
            f"got {depth} in the shape {weight_shape}"
        )
    try:
        pads = padding_pairs(padding, (R, S), stride, dilation, (H, W))
        return Conv(N, C, H, W, K, R, S, stride, pads, dilation, int(groups), dtype, layout)
    except ValueError as error:
        argument, _, message = str(error).partition(":")
        name = {"x": names[0], "weight": names[1]}.get(argument, argument)
        raise ArgumentError(f"{name}:{message}") from None

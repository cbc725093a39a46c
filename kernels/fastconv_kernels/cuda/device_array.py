"""An array on a device as the public calls handle it: NumPy's questions about shapes and strides, asked of an address.

A call that is given arrays of any library on a GPU sees each as a ``DeviceArray``, and then goes the way that NumPy's go:
shapes are checked, axes transposed, results reshaped by the same lines.  No element is ever looked at here.  What NumPy's
functions would have to compute on the host is refused; the few that ask about memory alone are answered at the end.

Nothing for CUDA is imported before something has to be copied.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..registry import Refused

Shape = tuple[int, ...]

LARGEST = 2**31 - 1
"""Elements between the first and the last of an array: kernels count them in 32 bits."""


class Flags(NamedTuple):
    """Of ``numpy.ndarray.flags`` what calls ask for."""

    c_contiguous: bool
    f_contiguous: bool
    writeable: bool
    behaved: bool = True
    """Kernels take pointers: an input that must not be written needs no other name, as NumPy's do."""
    aligned: bool = True

    @property
    def carray(self) -> bool:
        return self.c_contiguous and self.writeable


def c_strides(shape: Shape, itemsize: int) -> Shape:
    """Bytes between neighbours along each axis of an array without gaps, last axis first."""
    return tuple(itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape)))


def gapless(shape: Shape, strides: Shape, itemsize: int) -> bool:
    """Whether elements lie one behind the other, last axis first."""
    dense = zip(strides, c_strides(shape, itemsize), shape, strict=True)
    return prod(shape) == 0 or all(own == other or size == 1 for own, other, size in dense)


class DeviceArray:
    """A strided array on a device.

    Attributes
    ----------
    address, shape, strides, dtype, size
        As NumPy has them: strides count bytes.
    library
        The one that ``owner`` is of, which makes new arrays beside it (``cuda.libraries``).
    device : int
    owner
        The array that the memory belongs to.
    writeable : bool
    """

    __slots__ = ("_dense", "address", "device", "dtype", "library", "owner", "shape", "size", "strides", "writeable")

    def __init__(
        self,
        address: int,
        shape: Shape,
        strides: Shape | None,
        dtype: np.dtype[Any],
        library: Any,
        device: int,
        owner: Any,
        writeable: bool = True,
    ) -> None:
        self.address, self.shape, self.dtype, self.library = address, shape, dtype, library
        dense = c_strides(shape, dtype.itemsize)
        self.strides = dense if strides is None else strides
        self.size, self._dense = prod(shape), self.strides == dense
        self.device, self.owner, self.writeable = device, owner, writeable
        if not self._dense and min(self.strides, default=0) < 0 and self.size:
            raise Refused(f"an array on a device with strides of at least 0 is needed, these are {self.strides}")

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype}, shape {self.shape}, strides {self.strides}, on cuda:{self.device})"

    # ------------------------------------------------------------------------------------------------- what it is

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def base(self) -> Any:
        return self.owner

    @property
    def flags(self) -> Flags:
        last_first = self._dense or gapless(self.shape, self.strides, self.itemsize)
        return Flags(last_first, gapless(self.shape[::-1], self.strides[::-1], self.itemsize), self.writeable)

    @property
    def reach(self) -> int:
        """Bytes from the first element to behind the last."""
        if self._dense and self.size:
            return self.itemsize * self.size
        return self.itemsize + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))

    @property
    def countable(self) -> bool:
        """Whether kernels can count its elements."""
        return max(self.size, self.reach // self.itemsize) <= LARGEST

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        data, kind = (self.address, not self.writeable), self.dtype.str
        return {"shape": self.shape, "typestr": kind, "data": data, "strides": self.strides, "version": 3}

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise Refused("this is computed from arrays of the host alone, and fastconv.to_host copies them there")

    def __array_ufunc__(self, ufunc: Any, method: str, *given: Any, out: Any = (None,), **others: Any) -> Any:
        from .arithmetic import compute

        known = method == "__call__" and len(given) == 2 and not others and isinstance(out[0], DeviceArray)
        if not known or not compute(ufunc, given[0], given[1], out[0]):
            self.__array__()
        return out[0]

    def __len__(self) -> int:
        return self.shape[0]

    # ------------------------------------------------------------------------------------- other views of the same memory

    def _as(self, shape: Shape, strides: Shape | None) -> DeviceArray:
        return DeviceArray(self.address, shape, strides, self.dtype, self.library, self.device, self.owner, self.writeable)

    def transpose(self, *axes: Any) -> DeviceArray:
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], tuple) else axes or tuple(reversed(range(self.ndim)))
        return self._as(tuple(self.shape[axis] for axis in order), tuple(self.strides[axis] for axis in order))

    @property
    def T(self) -> DeviceArray:
        return self.transpose()

    def swapaxes(self, first: int, second: int) -> DeviceArray:
        order = list(range(self.ndim))
        order[first], order[second] = order[second], order[first]
        return self.transpose(*order)

    def __getitem__(self, index: Any) -> DeviceArray:
        if index is None:
            return self._as((1, *self.shape), (self.reach, *self.strides))
        if isinstance(index, slice):
            first, end, step = index.indices(len(self))
            part = self._as((len(range(first, end, step)), *self.shape[1:]), (step * self.strides[0], *self.strides[1:]))
            part.address += first * self.strides[0]
            return part
        part = self._as(self.shape[1:], self.strides[1:])  # an integer: a row, a plane, …
        part.address += int(index) * self.strides[0]
        return part

    def reshape(self, *shape: Any) -> DeviceArray:
        """The same elements in their order in another shape: a view, but for axes with gaps that are joined or split."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        if -1 in wanted:
            others = -prod(wanted)
            wanted = tuple(self.size // others if size == -1 else size for size in wanted)
        if prod(wanted) != self.size:
            raise ValueError(f"{self.size} elements have no shape {wanted}")
        if self.flags.c_contiguous:
            return self._as(wanted, None)
        long = [(size, step) for size, step in zip(self.shape, self.strides, strict=True) if size != 1]
        if [size for size, _ in long] != [size for size in wanted if size != 1]:
            return self.contiguous().reshape(wanted)
        steps = iter(step for _, step in long)
        return self._as(wanted, tuple(self.itemsize if size == 1 else next(steps) for size in wanted))

    # ----------------------------------------------------------------------------------------------------- other memory

    def empty(self, shape: Shape, dtype: Any) -> DeviceArray:
        """A new array of the same library on the same device; its elements are anything."""
        if prod(shape) > LARGEST:
            raise Refused(f"out: kernels for CUDA count at most 2**31 - 1 elements, an array of shape {shape} is needed")
        return wrapped(self.library.empty(shape, np.dtype(dtype), self.device), self.library)

    def contiguous(self) -> DeviceArray:
        """Itself, or a copy without gaps."""
        return self if self.flags.c_contiguous else self.copy()

    def copy(self) -> DeviceArray:
        """Memory of its own with the same elements, without gaps."""
        copy = self.empty(self.shape, self.dtype)
        copy.take(self)
        return copy

    def fill(self, value: float) -> None:
        """Set every element to 0; there must be no gaps."""
        from .transfers import clear

        if value != 0 or not self.flags.c_contiguous:
            raise Refused(f"arrays on a device are filled with 0 alone, and without gaps, this is {self}")
        clear(self)

    def take(self, source: DeviceArray) -> None:
        """Copy the elements of ``source``, which has the same shape and dtype."""
        from .strided import copy

        copy(source, self)

    def __array_function__(self, function: Callable[..., Any], _types: Any, arguments: Any, keywords: Any) -> Any:
        try:
            answer = ANSWERS[function]
        except KeyError:
            raise Refused(f"numpy.{function.__name__} computes with arrays of the host alone") from None
        return answer(*arguments, **keywords)


def wrapped(array: Any, library: Any) -> DeviceArray:
    """``array``, whose library is known, by its ``__cuda_array_interface__``."""
    about = array.__cuda_array_interface__
    address, read_only = about["data"]
    strides = about.get("strides")
    shape, dtype = tuple(about["shape"]), np.dtype(about["typestr"])
    return DeviceArray(
        address or 0,
        shape,
        None if strides is None else tuple(strides),
        dtype,
        library,
        library.device_of(array),
        array,
        not read_only,
    )


# ----------------------------------------------------------------------------------------- NumPy's questions about memory


def _moved(array: DeviceArray, source: int, destination: int) -> DeviceArray:
    order = list(range(array.ndim))
    order.insert(destination % array.ndim, order.pop(source % array.ndim))
    return array.transpose(*order)


def _expanded(array: DeviceArray, axis: int) -> DeviceArray:
    place = axis % (array.ndim + 1)
    strides = (*array.strides[:place], array.itemsize, *array.strides[place:])
    return array._as((*array.shape[:place], 1, *array.shape[place:]), strides)


def _squeezed(array: DeviceArray, axis: int) -> DeviceArray:
    place = axis % array.ndim
    return array._as(array.shape[:place] + array.shape[place + 1 :], array.strides[:place] + array.strides[place + 1 :])


def _shared(a: Any, b: Any) -> bool:
    """Whether the memory between their first and last elements overlaps."""
    if not (isinstance(a, DeviceArray) and isinstance(b, DeviceArray) and a.size and b.size):
        return False
    return a.address < b.address + b.reach and b.address < a.address + a.reach


ANSWERS: dict[Callable[..., Any], Callable[..., Any]] = {
    np.copyto: DeviceArray.take,
    np.expand_dims: _expanded,
    np.may_share_memory: _shared,
    np.moveaxis: _moved,
    np.reshape: DeviceArray.reshape,
    np.squeeze: _squeezed,
}

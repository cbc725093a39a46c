"""How the unit that copies boxes is told of a matrix: 128 bytes in the device's memory that describe it (*tensor map*).

Source: CUDA Driver API, ``cuTensorMapEncodeTiled``.  NOT YET RUN ON HARDWARE.  In the simulator the description is six plain
numbers, which the twin of ``warpgroup.copy_box`` reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import View, view
from .asm import SIMULATED
from .launch import stream_here
from .transfers import move
from .warpgroup import ROW

WORDS = 16
"""Of 8 bytes, of a description."""


class TensorMap:
    """Of ``matrix`` (rows, columns), its rows a multiple of 16 bytes apart; a box is ``height`` rows of 128 bytes."""

    def __init__(self, matrix: View, height: int) -> None:
        if SIMULATED:
            pitch = matrix.strides[0] * matrix.dtype.itemsize
            numbers = matrix.address, *matrix.shape, pitch, matrix.dtype.itemsize, height
            self.memory: Any = np.array(numbers, np.uint64)
            self.view = view(self.memory)
        else:
            self.memory = copied_to_device(encoded(matrix, height))
            self.view = View(int(self.memory.handle), (WORDS,), (1,), np.dtype("uint64"))


def encoded(matrix: View, height: int) -> np.ndarray[Any, Any]:
    """The description, as the driver makes it."""
    from cuda.bindings import driver

    size = matrix.dtype.itemsize
    kinds = driver.CUtensorMapDataType
    status, made = driver.cuTensorMapEncodeTiled(
        kinds.CU_TENSOR_MAP_DATA_TYPE_FLOAT32 if size == 4 else kinds.CU_TENSOR_MAP_DATA_TYPE_UINT16,
        2,
        matrix.address,
        [driver.cuuint64_t(matrix.shape[1]), driver.cuuint64_t(matrix.shape[0])],
        [driver.cuuint64_t(matrix.strides[0] * size)],
        [driver.cuuint32_t(ROW // size), driver.cuuint32_t(height)],
        [driver.cuuint32_t(1), driver.cuuint32_t(1)],
        driver.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
        driver.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
        driver.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
        driver.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
    )
    if status != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"the driver describes no matrix of shape {matrix.shape}: {status.name}")
    return np.array([int(word) for word in made.opaque], np.uint64)


def copied_to_device(words: np.ndarray[Any, Any]) -> Any:
    """A buffer of the device with these words in it."""
    from cuda.core import Device

    buffer = Device().allocate(words.nbytes, stream=stream_here())
    move(int(buffer.handle), words.ctypes.data, words.nbytes, "cuMemcpyHtoDAsync")
    return buffer

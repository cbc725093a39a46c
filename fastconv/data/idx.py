"""IDX, the format of the MNIST files: two zero bytes, a dtype's code, the number of axes, their sizes, the values.

Everything is big-endian; axes have 4 bytes each.  A file may be compressed with gzip, which its first bytes tell, whatever
its name.

References
----------
LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998, section "File formats".
"""

from __future__ import annotations

import gzip
import os
import zlib
from math import prod
from pathlib import Path

import numpy as np

from fastconv.errors import DataError, DataNotFoundError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, compressed or not, in the machine's byte order, writable.

    Raises
    ------
    DataError
        The file is cut short, not IDX, or as long as its header does not say.
    DataNotFoundError
        There is no such file.
    """
    return parse(content(path), path)


def content(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file, uncompressed if it is a gzip file."""
    try:
        stored = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataNotFoundError(f"{path}: there is no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if not stored.startswith(GZIP):
        return stored
    try:
        return gzip.decompress(stored)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: expected a whole gzip file, but it is damaged or cut short ({error})") from error


def parse(data: bytes, name: str | os.PathLike[str]) -> np.ndarray:
    """The array in the uncompressed bytes of an IDX file; ``name`` stands in the errors."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in DTYPES or data[3] == 0:
        codes = ", ".join(f"{code:02x}" for code in DTYPES)
        raise DataError(
            f"{name}: expected an IDX file, which begins with 00 00, one of {codes} (the dtype) and the number of axes, "
            f"but it begins with {data[:4].hex(' ') or 'nothing'}"
        )
    dtype, axes = np.dtype(DTYPES[data[2]]), data[3]
    header = 4 + 4 * axes
    if len(data) < header:
        raise DataError(f"{name}: expected a header of {header} bytes for {axes} axes, but the file has {len(data)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", axes, 4))
    expected = header + prod(shape) * dtype.itemsize
    if len(data) != expected:
        sizes = " x ".join(map(str, shape))
        raise DataError(f"{name}: expected {expected} bytes for {sizes} values of {dtype.name}, but there are {len(data)}")
    return np.frombuffer(data, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))

"""Small data in MNIST's format, and a user who has none."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file, written from the format's definition."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, CODES[array.dtype.name], array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def small_files(size: int = 6) -> dict[str, bytes]:
    """Four files in MNIST's format with 20 and 10 images."""
    rng = np.random.default_rng(0)
    contents = {}
    for part, count in (("train", 20), ("t10k", 10)):
        contents[f"{part}-images-idx3-ubyte"] = idx_bytes(rng.integers(0, 256, (count, size, size), dtype=np.uint8))
        contents[f"{part}-labels-idx1-ubyte"] = idx_bytes((np.arange(count) % 10).astype(np.uint8))
    return contents


def write_small(folder: Path) -> Path:
    """The folder, made, with the small files, compressed."""
    folder.mkdir()
    for name, content in small_files().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


def leave_alone(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """Be a user who has no data, an empty cache at ``cache``, which is given back, and no network."""
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(cache))
    monkeypatch.setenv("FASTCONV_OFFLINE", "1")
    return cache

"""Weights files: safetensors, written whole or not at all.  Reading one runs no code of the file's, as a pickle would."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fastconv import files
from fastconv.errors import ArgumentError, CheckpointError

DTYPES = ("float16", "float32", "float64", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
"""What both NumPy and the format know."""


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise ``CheckpointError`` if no weights could be written to ``path``: to be asked before the training, not after."""
    try:
        files.check_writable(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write weights there, {error}") from error


def save(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays and a few words about them.

    Parameters
    ----------
    path : str or path
        An existing file is replaced at the very end, in one step: killed at any moment, it is the old one or the new one.
    tensors : {name: array}
        Any shape, strides and byte order; dtype one of ``DTYPES``.
    metadata : {str: str}
        As ``{"model": "mnist-cnn", "input_shape": "1,28,28", "classes": "10"}``.

    Raises
    ------
    ArgumentError
        ``tensors`` or ``metadata`` hold what the format cannot.
    CheckpointError
        The file cannot be written.
    """
    from safetensors.numpy import save as serialized

    metadata = dict(metadata or {})
    if not all(isinstance(word, str) for pair in metadata.items() for word in pair):
        raise ArgumentError(f"metadata: expected strings by strings, got {metadata}")
    for name, tensor in tensors.items():
        if not isinstance(tensor, np.ndarray) or tensor.dtype.name not in DTYPES:
            kind = getattr(tensor, "dtype", type(tensor).__name__)
            raise ArgumentError(f"tensors: expected arrays of {', '.join(DTYPES)}, got {kind} for {name!r}")
    # The library writes the memory as it lies: strides are lost, and an F-ordered array would come back scrambled.
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    content = _in_order(serialized(contiguous, metadata or None))  # it cannot read back an empty table of words
    try:
        files.write_atomically(path, content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write the weights, {error}") from error


def load(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a weights file.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, cut short, or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise CheckpointError(f"{path}: there is no such weights file")
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a file, not a mapping
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: a dtype that NumPy has not, as bfloat16
        raise CheckpointError(f"{path}: expected a safetensors file, but it is damaged or something else ({error})") from error


def _in_order(content: bytes) -> bytes:
    """The same file with its header's entries sorted: the library shuffles the words, and equal models make equal files."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors that follow stay aligned
    return len(header).to_bytes(8, "little") + header + content[end:]

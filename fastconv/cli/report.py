"""What commands say and write."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from math import isfinite
from typing import Any

from fastconv import __version__, files
from fastconv.errors import ArgumentError

PACKAGES = ("numpy", "numba", "llvmlite")


def say(line: str) -> None:
    """A line for people, on standard error."""
    print(line, file=sys.stderr, flush=True)


def versions() -> dict[str, str]:
    """Of fastconv, of Python and of the packages that decide speed."""
    return {"fastconv": __version__, "python": sys.version.split()[0], **{package: version(package) for package in PACKAGES}}


def as_json(value: Any) -> str:
    """JSON text; numbers that it does not know, NaN and infinities, become null."""
    return json.dumps(_known(value), indent=2, ensure_ascii=False)


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _known(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def check_file(option: str, path: str) -> None:
    """Raise before the work if ``write_file`` could not write after it."""
    try:
        files.check_writable(path)
    except OSError as error:
        raise ArgumentError(f"{option}: {path} cannot be written, {error}") from error


def write_file(option: str, path: str, content: bytes) -> None:
    """Write a file, whole or not at all."""
    try:
        files.write_atomically(path, content)
    except OSError as error:
        raise ArgumentError(f"{option}: {path} cannot be written, {error}") from error


def check_json(path: str) -> None:
    """Raise before the work if ``write_json`` could not write after it."""
    check_file("--json", path)


def write_json(path: str, value: Any) -> None:
    """Write a file, whole or not at all."""
    write_file("--json", path, as_json(value).encode() + b"\n")

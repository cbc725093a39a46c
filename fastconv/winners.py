"""The per-machine table of measured winners: which algorithm was the fastest for a problem here.

``fastconv.tuning`` writes it, ``dispatch`` reads it.  It is one JSON file for each kind of machine, in the user's cache
folder, or where ``FASTCONV_TUNING`` says ("off": none is read).  An entry for a kernel that exists no longer, or that refuses
the problem, is passed over; a file that cannot be read is reported once and not touched.
"""

from __future__ import annotations

import json
import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from . import files
from .errors import ArgumentError

Seconds: TypeAlias = dict[str, float]
"""Of each algorithm that was measured."""

Table: TypeAlias = dict[str, Seconds]
"""By what ``key`` says."""

VARIABLE = "FASTCONV_TUNING"


def path(folder: Path, machine: str) -> Path | None:
    """The file of a machine in the user's cache ``folder``; None: the user wants none."""
    chosen = os.environ.get(VARIABLE)
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen).expanduser().absolute()
    return folder / "tuning" / f"{machine}.json"


def key(operator: str, direction: str, problem: Any, threads: int, accuracy: str) -> str:
    """How a problem is called in the table."""
    return f"{operator} {direction} {problem} threads={threads} accuracy={accuracy}"


def read(file: Path) -> Table:
    """What is in ``file``: nothing where there is none, or, with one warning, where it is no table."""
    return _read(file, _stamp(file))


def _stamp(file: Path) -> int:
    """Another number for each state of the file; 0: there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=2)
def _read(file: Path, stamp: int) -> Table:
    """What is in ``file``, whose state is ``stamp``."""
    if not stamp:
        return {}
    try:
        return _checked(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        warnings.warn(f"{file}: the table of tuned kernels cannot be read ({error}); kernels are ranked instead", stacklevel=2)
        return {}


def _checked(content: Any) -> Table:
    """``content`` if it is a table."""
    if not isinstance(content, dict) or not all(
        isinstance(seconds, dict) and all(isinstance(value, (int, float)) for value in seconds.values())
        for seconds in content.values()
    ):
        raise ValueError("expected an object of objects of numbers")
    return content


def check_writable(file: Path | None) -> Path:
    """``file``, if ``keep`` will be able to write it.

    Raises
    ------
    ArgumentError
        It is switched off, damaged, or cannot be written.
    """
    if file is None:
        raise ArgumentError(f"{VARIABLE}: expected a file or nothing, got off: the winners could not be kept")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.check_writable(file)
        if file.exists():
            _checked(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{VARIABLE}: {file} cannot hold the winners, {error}") from error
    return file


def keep(file: Path | None, found: Table) -> None:
    """Add ``found`` to the table in ``file``, over what it says of the same problems; the file is replaced whole.

    Raises
    ------
    ArgumentError
        As ``check_writable``.
    """
    file = check_writable(file)
    table = _checked(json.loads(file.read_bytes())) if file.exists() else {}
    files.write_atomically(file, (json.dumps(table | found, indent=1, sort_keys=True) + "\n").encode())

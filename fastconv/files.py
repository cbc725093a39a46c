"""Writing a file whole or not at all: a reader, or a crash at any moment, meets the old content or the new, never half."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise ``OSError`` if a file could not be written at ``path``, before anything is computed that it is to hold.

    A file is made beside it and removed, which alone tells: permissions say nothing about read-only or full disks.
    """
    target = _replaceable(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist")
    probe = _beside(target)
    try:
        probe.touch(exist_ok=False)
    except OSError as error:
        raise OSError(f"the folder {target.parent} cannot be written ({error.strerror})") from error
    probe.unlink()


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` to a temporary file in the same folder, flush it to the disk, and move it to ``path``.

    A link at ``path`` is followed; a folder, a device or a pipe there raises ``OSError`` and stays.  A process killed
    meanwhile leaves the previous file, and at most a hidden ``.tmp`` one.
    """
    target = _replaceable(path)
    temporary = _beside(target)
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else the move could reach the disk before the bytes do
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)


def _replaceable(path: str | os.PathLike[str]) -> Path:
    """Where ``path`` leads, if a file may be moved there: to root, nothing else keeps a move from replacing a device."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError("it is a folder")
    if target.exists() and not target.is_file():
        raise OSError("it is a device or a pipe, not a file")
    return target


def _beside(target: Path) -> Path:
    """A name of its own for every writer, in the same folder, since a move is atomic only within one file system."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")


def _flush_folder(folder: Path) -> None:
    """Make the move itself durable, where a folder can be opened for that (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""Where compiled kernels are kept: one folder of the user's cache for each state of the sources and of the machine.

Numba's own cache keys a function by its source alone, so that an edited *imported* function leaves stale machine code
behind, and keeps an index for each function, in which two processes that compile for different types can leave one's code
under the other's name.  Here the folder's name is a hash of all kernel sources, of Numba's version, of the CPU and of the
vector width, and each file's name is a hash of the function and of the types it is compiled for: whatever changes, another
name is used, and there is nothing that two processes could disagree about.

A folder that cannot be read or written means compiling again, with one warning, never an error.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import uuid
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.caching import _Cache
from numba.core.serialize import dumps

SOURCES = Path(__file__).resolve().parents[1]
DIGEST_BYTES = hashlib.sha256().digest_size


def user_cache_folder() -> Path:
    """``FASTCONV_CACHE_DIR``, else the platform's folder for a user's caches, fastconv in it."""
    if chosen := os.environ.get("FASTCONV_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "fastconv" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/fastconv"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastconv"


@cache
def kernel_cache_folder() -> Path:
    """The folder for the kernels as they are now: a hash of sources, Numba, LLVM, CPU and lanes."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes() + b"\0")
    machine = (
        numba.__version__,
        sys.version,
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
        os.environ.get("FASTCONV_LANES", ""),
    )
    digest.update("\0".join(machine).encode())
    return user_cache_folder() / "kernels" / digest.hexdigest()[:16]


class KernelCache(_Cache):  # type: ignore[misc]
    """The machine code of one function, a file for each tuple of argument types; what Numba asks of a cache.

    A function from outside this package is not kept: the folder's name does not tell when it is edited.
    """

    def __init__(self, function: FunctionType, rebuild: Callable[..., Any]) -> None:
        self._rebuild = rebuild
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
        self._identity = _identity(function)
        self._enabled = SOURCES in Path(function.__code__.co_filename).resolve().parents

    @property
    def cache_path(self) -> str:
        try:
            return str(kernel_cache_folder())
        except RuntimeError:  # there is no home folder
            return ""

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Nothing to do: what is stale has another name."""

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        if not self._enabled:
            return None
        try:
            stored = self._path(signature).read_bytes()
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
            _warn_once("read", error)
            return None
        if hashlib.sha256(stored[DIGEST_BYTES:]).digest() != stored[:DIGEST_BYTES]:
            return None  # damaged: it is compiled again, which replaces it
        return self._rebuild(target_context, pickle.loads(stored[DIGEST_BYTES:]))

    def save_overload(self, signature: Any, data: Any) -> None:
        if not self._enabled or data.library.has_dynamic_globals:
            return
        content = dumps(data._replace(type_annotation="")._reduce())  # a listing of the source, which takes long to write
        try:
            path = self._path(signature)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, hashlib.sha256(content).digest() + content)
        except (OSError, RuntimeError) as error:
            _warn_once("write", error)

    def _path(self, signature: Any) -> Path:
        key = hashlib.sha256(f"{self._identity}\0{signature}".encode()).hexdigest()[:32]
        readable = "".join(letter if letter.isalnum() else "_" for letter in self._name)[:64]
        return kernel_cache_folder() / f"{readable}-{key}.kernel"


def _identity(value: Any) -> str:
    """What tells a function from all others of the same sources: where it is written and what its closure holds."""
    if isinstance(value, FunctionType):
        code: CodeType = value.__code__
        cells = [_identity(cell.cell_contents) for cell in value.__closure__ or ()]
        return f"{value.__module__}.{value.__qualname__}:{code.co_firstlineno}{cells}"
    if hasattr(value, "py_func"):
        return _identity(value.py_func)
    if value is None or isinstance(value, (bool, int, float, str, tuple, numba.types.Type)):
        return repr(value)
    raise TypeError(f"closure of a kernel: expected functions, numbers, strings and types, got {value!r}")


def _write(path: Path, content: bytes) -> None:
    """Write to a file beside ``path`` and move it there, so that nobody ever reads half of it."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


_warned = False


def _warn_once(action: str, error: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"cannot {action} compiled kernels ({error}): they are compiled anew in every process; "
            "the environment variable FASTCONV_CACHE_DIR names another folder",
            RuntimeWarning,
            stacklevel=2,
        )

"""Where compiled kernels are kept: one folder of the user's cache for each state of the sources and of the machine.

Numba keys a cached function by its own source alone, so that an edited *imported* function would leave stale machine code
behind.  Here the folder's name is a hash of all kernel sources, of Numba's version, of the CPU and of the vector width:
whatever changes, another folder is used.  A folder that cannot be written means compiling again, never an error.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache

SOURCES = Path(__file__).resolve().parents[1]


def user_cache_folder() -> Path:
    """``FASTCONV_CACHE_DIR``, else the platform's folder for a user's caches, fastconv in it."""
    if chosen := os.environ.get("FASTCONV_CACHE_DIR"):
        return Path(chosen).expanduser()
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


class _Locator:
    """Tells Numba the folder; the sources are in its name already, so that the stamp is constant."""

    def __init__(self, function: Any, _file: str) -> None:
        self._line = str(function.__code__.co_firstlineno)

    def ensure_cache_path(self) -> None:
        kernel_cache_folder().mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(kernel_cache_folder())

    def get_source_stamp(self) -> str:
        return "sources"

    def get_disambiguator(self) -> str:
        return self._line

    @classmethod
    def from_function(cls, function: Any, file: str) -> _Locator:
        return cls(function, file)


class _CacheImpl(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]


class KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's function cache, in our folder, that does without where it cannot write or read."""

    _impl_class = _CacheImpl

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(signature, target_context)
        except Exception as error:  # noqa: BLE001 - whatever a damaged file raises when it is unpickled: compile again
            _warn_once("read", error)
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except OSError as error:
            _warn_once("write", error)


_warned: set[str] = set()


def _warn_once(action: str, error: Exception) -> None:
    if action not in _warned:
        _warned.add(action)
        warnings.warn(
            f"cannot {action} compiled kernels in {kernel_cache_folder()} ({error}): kernels are compiled anew in every "
            "process; FASTCONV_CACHE_DIR names another folder",
            RuntimeWarning,
            stacklevel=2,
        )

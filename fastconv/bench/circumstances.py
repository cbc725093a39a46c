"""What every measurement says beside its numbers: when, on what machine, with which versions."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastconv.functional.machine import machine

PACKAGES = ("fastconv", "numpy", "scipy", "numba", "llvmlite", "torch")


def circumstances() -> dict[str, Any]:
    """Date, machine and versions."""
    here, versions = machine(), {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "cpu": here.cpu,
            "lanes": here.lanes,
            "threads": here.threads,
            "caches": here.caches,
            "system": platform.system(),
        },
        "versions": versions,
    }

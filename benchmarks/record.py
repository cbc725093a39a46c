"""What every result says beside its numbers, and where it is written."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastconv.functional.machine import machine

RESULTS = Path(__file__).with_name("results")
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
        "machine": {"cpu": here.cpu, "lanes": here.lanes, "threads": here.threads, "system": platform.system()},
        "versions": versions,
    }


def path(suite: str, folder: Path | None = None) -> Path:
    """Where a suite's results are, in the repository unless another folder is named."""
    return (folder or RESULTS) / f"{suite}.json"


def read(suite: str, folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """What was measured, by the number of threads; empty: nothing."""
    place = path(suite, folder)
    return json.loads(place.read_text())["threads"] if place.exists() else {}  # type: ignore[no-any-return]


def write(suite: str, threads: int, result: dict[str, Any], folder: Path | None = None) -> Path:
    """Write what was measured with so many threads, with the circumstances; what was measured with others stays."""
    runs = read(suite, folder) | {str(threads): circumstances() | result}
    place = path(suite, folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"suite": suite, "threads": runs}, indent=1) + "\n")
    return place

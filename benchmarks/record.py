"""Where results are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastconv.bench.circumstances import circumstances

RESULTS = Path(__file__).with_name("results")


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

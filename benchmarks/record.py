"""Where results are written: a folder for each kind of machine, by LLVM's name of its cores."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import which
from subprocess import run
from typing import Any

from fastconv.bench.circumstances import circumstances
from fastconv.bench.suites import SUITES

RESULTS = Path(__file__).with_name("results")

Runs = dict[str, dict[str, Any]]
"""By suite, and then by the number of threads."""


def here() -> Path:
    """The folder of machines like this one."""
    return RESULTS / str(circumstances()["machine"]["cpu"])


def folders() -> list[Path]:
    """Of every kind of machine that was measured."""
    return sorted({path.parent for path in RESULTS.glob("*/*.json")})


def read(suite: str, folder: Path) -> dict[str, Any]:
    """What was measured, by the number of threads; empty: nothing."""
    place = folder / f"{suite}.json"
    return json.loads(place.read_text())["threads"] if place.exists() else {}  # type: ignore[no-any-return]


def measurements() -> dict[str, Runs]:
    """Everything, by the machine's name."""
    found = {folder.name: {suite: read(suite, folder) for suite in SUITES} for folder in folders()}
    return {machine: runs for machine, runs in found.items() if any(runs.values())}


def commit() -> dict[str, str]:
    """The last one that changed what is measured, where that is known."""
    git = which("git")
    if git is None:
        return {}
    words = ["log", "-1", "--format=%h", "--", "kernels", "fastconv"]
    said = run([git, "-C", str(RESULTS.parents[1]), *words], capture_output=True, text=True, check=False).stdout.strip()
    return {"commit": said} if said else {}


def write(suite: str, threads: int, result: dict[str, Any], folder: Path | None = None) -> Path:
    """Write what was measured here with so many threads, with the circumstances; what was measured with others stays."""
    folder = folder or here()
    runs = read(suite, folder) | {str(threads): circumstances() | commit() | result}
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{suite}.json"
    place.write_text(json.dumps({"suite": suite, "threads": runs}, indent=1) + "\n")
    return place

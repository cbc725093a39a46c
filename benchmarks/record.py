"""What every result says beside its numbers, where it is written, and how contestants in processes of their own are timed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from fastconv.functional.machine import machine

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("fastconv", "numpy", "numba", "llvmlite", "torch")


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


def write(name: str, result: dict[str, Any], folder: Path | None = None) -> Path:
    """Write ``name``.json into ``folder``, the repository's results unless another is named, with the circumstances."""
    path = (folder or RESULTS) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(circumstances() | result, indent=2) + "\n")
    return path


class Contestant:
    """A Python process that reads a line for each round and answers it with a line of JSON.

    In a process of its own, each library has its threads and its environment to itself.
    """

    def __init__(self, module: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.answers: list[Any] = []

    def round(self) -> None:
        """One more measurement."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended with status {self.process.wait()}")  # type: ignore[arg-type]
        self.answers.append(json.loads(line))

    def end(self) -> None:
        """Close its input, at which it ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def interleaved(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[Any]]:
    """The answers of each contestant to ``rounds`` rounds, in each of which every one has its turn."""
    try:
        for _ in range(rounds):
            for contestant in contestants.values():
                contestant.round()
    finally:
        for contestant in contestants.values():
            contestant.end()
    return {name: contestant.answers for name, contestant in contestants.items()}


def summary(samples: list[float]) -> dict[str, Any]:
    """The median and all that it is the median of."""
    return {"median": round(median(samples), 4), "samples": [round(sample, 4) for sample in samples]}

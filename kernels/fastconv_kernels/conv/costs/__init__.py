"""What each unit of the kernels' work costs: nanoseconds on one thread, a file for each kind of machine that was measured.

``python -m benchmarks.calibrate`` measures them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

FOLDER = Path(__file__).parent
ALIKE = {"znver": "znver5", "": "rocketlake"}
"""How names of cores begin → the machine that stands for them where they were not measured; the first that fits."""


def place(cpu: str) -> Path:
    """The file for a machine whose cores LLVM calls ``cpu``."""
    return FOLDER / f"{cpu}.json"


@cache
def of(cpu: str) -> Mapping[str, Mapping[str, float]]:
    """The costs of the units by kernel, on such a machine or on the one that stands for it."""
    if not place(cpu).exists():
        cpu = next(standing for beginning, standing in ALIKE.items() if cpu.startswith(beginning))
    costs: Mapping[str, Mapping[str, float]] = json.loads(place(cpu).read_text())["nanoseconds"]
    return costs


def here() -> Mapping[str, Mapping[str, float]]:
    """Those of this machine."""
    return of(llvm.get_host_cpu_name())

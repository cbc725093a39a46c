"""Reading machine code: what a kernel's main loop consists of."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

LABEL = re.compile(r"^\s*\.(L_x_\d+):")
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)([^;]*);")


def disassembler() -> str | None:
    """NVIDIA's ``nvdisasm``, of the package nvidia-cuda-nvdisasm."""
    from cuda import pathfinder

    return pathfinder.find_nvidia_binary_utility("nvdisasm")


def instructions(cubin: bytes, folder: Path) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """The (opcode, operands) of a cubin in order, and where each label points."""
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    text = subprocess.run([disassembler() or "nvdisasm", "-c", str(path)], capture_output=True, text=True, check=True).stdout
    listed: list[tuple[str, str]] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := LABEL.match(line):
            labels[label[1]] = len(listed)
        elif instruction := INSTRUCTION.search(line):
            opcode, operands = instruction.groups()
            # On sm_80 a warp leaves a loop by a CALL that never returns, to a label: a jump in all but name.
            listed.append(("BRA" if opcode == "CALL" and "`(.L_x_" in operands else opcode, operands))
    return listed, labels


def main_loop(cubin: bytes, folder: Path, opcode: str) -> Counter[Any]:
    """How often each opcode stands in the loop with most of ``opcode``: a branch backwards closes a loop."""
    listed, labels = instructions(cubin, folder)
    loops: list[Counter[Any]] = [Counter()]
    for end, (name, operands) in enumerate(listed):
        target = re.search(r"L_x_\d+", operands) if name == "BRA" else None
        if target and labels.get(target[0], end) < end:
            loops.append(Counter(name for name, _ in listed[labels[target[0]] : end + 1]))
    return max(loops, key=lambda loop: (loop[opcode], -loop.total()))

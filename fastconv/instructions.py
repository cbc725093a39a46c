"""Reading machine code: where its main loop is, and what that consists of.

What is read is LLVM's text for x86 and ARM, and PTX.  A jump backwards closes a loop; the main one is, of those without
another inside, the one that multiplies and adds most.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

KINDS = ("multiply-add", "other arithmetic", "load", "store", "copy", "shuffle", "prefetch", "barrier", "branch", "other")
"""Of instructions, in the order in which they are told."""

LABEL = re.compile(r"^([.$]?L\w+):")
FUNCTION = re.compile(r"^\S+:")
INSTRUCTION = re.compile(r"^\s+\{?\s*(?:@!?%\w+\s+)?([a-z][\w.]*)\s*([^;]*)")
JUMP = re.compile(r"j\w+|b|b\..+|cbn?z|tbn?z|bra(\..+)?")

PTX = (
    ("multiply-add", r"(fma|mma|wgmma|mad\.(rn\.)?f)"),
    ("copy", r"cp\.async"),
    ("load", r"ld\.|ldmatrix"),
    ("store", r"st\.|red\."),
    ("shuffle", r"shfl|prmt"),
    ("barrier", r"bar\.|barrier"),
    ("branch", r"bra"),
    ("other arithmetic", r"\w+(\.\w+)*\.f(16|32|64)"),
)
ARM = (
    ("multiply-add", r"fml[as]|fn?madd|fn?msub|bfmmla"),
    ("prefetch", r"prf"),
    ("load", r"ld"),
    ("store", r"st"),
    ("shuffle", r"zip|uzp|trn|tbl|ext|dup|ins|rev"),
    ("branch", r"b$|b\.|cb|tb|ret|bl"),
    ("other arithmetic", r"f[a-z]+"),
)
X86 = (
    ("multiply-add", r"vfn?m(add|sub)"),
    ("prefetch", r"prefetch"),
    ("shuffle", r"v?p?(perm|shuf|unpck|broadcast|insert|extract|align|blend|pack|expand|compress)|v?mov([sd]|hl|lh|sh|sl)dup"),
    ("branch", r"j|call|ret"),
    ("other arithmetic", r"v(?!mov|zero)|(add|sub|mul|div|max|min|xor|and)[ps][sd]"),
)
MOVE = re.compile(r"v?mov|k?mov|v?p?broadcast|vgather|vpgather|vscatter|vmaskmov|push|pop")
"""On x86: what loads or stores, if an operand is in memory."""


@dataclass(frozen=True)
class Loop:
    """A loop of machine code.

    Attributes
    ----------
    lines : list of str
        Its text, from its label to the jump back.
    mix : Counter
        How many instructions of each of ``KINDS``.
    folded : int
        Multiply-adds that load an operand themselves.
    """

    lines: list[str]
    mix: Counter[str]
    folded: int

    @property
    def share(self) -> float:
        """Of multiply-adds among all instructions."""
        return self.mix["multiply-add"] / self.mix.total()

    def __str__(self) -> str:
        told = ", ".join(f"{self.mix[kind]} {kind}" for kind in KINDS if self.mix[kind])
        also = f", {self.folded} of the multiply-adds load an operand" if self.folded else ""
        return f"{self.mix.total()} instructions, {self.share:.0%} of them multiply-adds: {told}{also}"


def main_loop(text: str) -> Loop | None:
    """The loop in which most is multiplied and added; None: there is no loop."""
    syntax = PTX if ".version" in text and ".target" in text else X86 if "%r" in text else ARM
    loops = [_read(lines, syntax) for lines in _innermost(text)]
    return max(loops, key=_work, default=None)


def _work(loop: Loop) -> tuple[float, int, int]:
    """How much is multiplied, and how densely: a transform that is written out multiplies more, among more else."""
    multiplied, others = loop.mix["multiply-add"], loop.mix["other arithmetic"] + loop.mix["load"]
    return multiplied * loop.share, others, -loop.mix.total()


def _innermost(text: str) -> Iterator[list[str]]:
    """The lines of every loop that has no other inside."""
    lines = text.splitlines()
    labels: dict[str, int] = {}
    ends: dict[int, int] = {}
    for number, line in enumerate(lines):
        if label := LABEL.match(line):
            labels[label[1]] = number
        elif FUNCTION.match(line):
            labels.clear()
        elif (found := INSTRUCTION.match(line)) and JUMP.fullmatch(found[1]):
            target = re.split(r"[\s,]+", found[2].partition("#")[0].strip())[-1]
            if target in labels:
                ends[labels[target]] = number
    for start, end in ends.items():
        if not any(start < other and last <= end for other, last in ends.items()):
            yield lines[start : end + 1]


def _read(lines: list[str], syntax: tuple[tuple[str, str], ...]) -> Loop:
    mix: Counter[str] = Counter()
    folded = 0
    for line in lines:
        for statement in line.partition("//")[0].split(";") if syntax is PTX else [line.partition("#")[0]]:
            if found := INSTRUCTION.match(f" {statement}"):
                kind = _kind(found[1], found[2], syntax)
                mix[kind] += 1
                folded += kind == "multiply-add" and syntax is X86 and "(" in found[2]
    return Loop(lines, mix, folded)


def _kind(name: str, operands: str, syntax: tuple[tuple[str, str], ...]) -> str:
    """Which of ``KINDS`` an instruction is."""
    if syntax is X86 and MOVE.match(name) and "(" in operands:  # the destination is the last operand
        return "store" if "(" in re.split(r",(?![^(]*\))", operands)[-1] else "load"
    return next((kind for kind, pattern in syntax if re.match(pattern, name)), "other")

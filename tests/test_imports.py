"""Who may import whom, read from the sources; and how little ``import fastconv`` brings with it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import pytest

import processes
from fastconv import dispatch

ROOT = processes.ROOT
KERNELS = ROOT / "kernels/fastconv_kernels"
LAYERS = ("choice", "dispatch", "functional", "nn.layers", "nn.model", "bench", "cli")
"""Each may import those before it, never those behind it."""
POLICY = "fastconv.choice", "fastconv.dispatch"
"""What chooses kernels and keeps their plans; the rest has both from ``dispatch``."""


def module_of(path: Path) -> str:
    """``fastconv.nn.model`` for a file; a package for its ``__init__.py``."""
    root = ROOT / "kernels" if path.is_relative_to(ROOT / "kernels") else ROOT
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, everywhere: bool = True) -> set[str]:
    """The full names of all that a file imports; ``from a import b`` gives ``a.b``; not what is there for types alone."""
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    names = set()
    for node in statements(ast.parse(path.read_text()), everywhere):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{source}.{alias.name}" for alias in node.names}
    return names


def statements(tree: ast.AST, everywhere: bool) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``, and without ``everywhere`` those in functions, which run later."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if not everywhere and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield node
        yield from statements(node, everywhere)


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def sources(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("path", sources(KERNELS), ids=module_of)
def test_kernels_know_numpy_and_numba_alone(path: Path) -> None:
    cuda = "cuda" in path.relative_to(KERNELS).parts or path.stem.endswith("_cuda")
    allowed = {"fastconv_kernels", "llvmlite", "numba", "numpy"}
    for name in imported(path):
        top = name.partition(".")[0]
        assert top in allowed or top in sys.stdlib_module_names or (cuda and top in ("cuda", "cupy")), f"imports {name}"
    if path.stem == "reference":
        assert not [name for name in imported(path) if name.partition(".")[0] in ("numba", "llvmlite")]


TABLES = "__init__.py", "for_cpu.py", "with_pooling.py"
"""The files that bring algorithms together."""


@cache
def algorithms() -> frozenset[str]:
    """The modules that registered kernels are made in; what several of them share is in others."""
    plans = [kernel.plan for entry in dispatch.OPERATORS for kernel in dispatch.kernels(*entry)]
    return frozenset((plan.func if isinstance(plan, partial) else plan).__module__ for plan in plans)


@pytest.mark.parametrize("path", sources(KERNELS), ids=module_of)
def test_algorithms_do_not_import_each_other(path: Path) -> None:
    if path.name in TABLES:
        return
    others = {name for name in algorithms() if name != module_of(path)}
    assert len(others) > 10
    for name in imported(path):
        assert not any(within(name, other) for other in others), f"imports {name}"


@pytest.mark.parametrize("path", sources(ROOT / "fastconv"), ids=module_of)
def test_the_public_package_is_layered(path: Path) -> None:
    module, names = module_of(path), imported(path)
    for name in names:
        assert not within(name, "tests"), f"imports {name}"
        assert not within(name, "benchmarks"), f"imports {name}"
        if within(name, "fastconv_kernels"):
            assert within(module, "fastconv.functional") or module in POLICY, f"imports {name}"
    here = [number for number, layer in enumerate(LAYERS) if within(module, f"fastconv.{layer}")]
    for layer in LAYERS[here[0] + 1 :] if here else ():
        assert not any(within(name, f"fastconv.{layer}") for name in names), f"imports fastconv.{layer}"


def test_importing_brings_little_and_compiles_nothing() -> None:
    script = """
import json, sys
import fastconv
heavy = [name for name in ("torch", "sklearn", "scipy", "rich", "pooch", "PIL", "safetensors") if name in sys.modules]
dispatchers = []
if "numba" in sys.modules:
    import gc
    from numba.core.dispatcher import Dispatcher
    dispatchers = [d.py_func.__qualname__ for d in gc.get_objects() if isinstance(d, Dispatcher) and d.signatures]
print(json.dumps([heavy, dispatchers]))
"""
    assert processes.run(script) == [[], []]

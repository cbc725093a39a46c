"""From a Python function to machine code, on any machine: Numba writes LTO-IR, NVIDIA's linker makes a cubin of it.

Neither step needs a driver or a GPU, so kernels are compiled, and their use of registers checked, where the tests run; and
a cubin built anywhere can be kept, or carried to the machine that runs it.  Two obstacles of the present versions are
isolated at the end of this file, each with the reason why it is there.

Sources: numba-cuda, "Compiling Python Functions for Use With Other Languages"; cuda.core, ``Linker``.
"""

import hashlib
import importlib.metadata
import inspect
import math
import re
import sys
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from pathlib import Path
from types import FunctionType, SimpleNamespace

import numpy as np
from numba import cuda, float32, int32, types

from .. import mathematics
from ..cpu.cache import SOURCES, user_cache_folder
from .asm import SIMULATED
from .unrolling import unrolled

# ------------------------------------------------------------------------------------------------ what kernels are made of


def device(function, **names):
    """A function for kernels, made part of each caller: arrays of registers must never cross a call.

    The plain functions that it calls become part of it likewise, so that a body which is shared with the CPU is compiled as it
    stands; ``names`` are names, in it and in those, that stand for something else on the GPU.  It names nothing of ``cuda``
    unless a kernel of its module calls it: only there the simulator puts its own in place of that name.
    """
    if SIMULATED and not names:
        return function
    seen = inspect.getclosurevars(function).globals.items()
    called = {name: on_device(value, **names) for name, value in seen if isinstance(value, FunctionType) and name not in names}
    if SIMULATED:
        return renamed(function, {**called, **names})
    return cuda.jit(device=True, forceinline=True)(renamed(unrolled(function), {**called, **names}))


def renamed(function, names):
    """The same function with other values for some of its global names."""
    scope = {**function.__globals__, **names} if names else function.__globals__
    made = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    return wraps(function)(made)  # ``wraps`` keeps what ``identity`` reads


@cache
def on_device(function, **names):
    """A plain function as kernels call it: of the mathematical ones the GPU has its own."""
    if SIMULATED:
        return function if function.__module__ == mathematics.__name__ else device(function, **names)
    from numba.cuda import libdevice

    own = {
        mathematics.exp: math.exp,
        mathematics.expm1: math.expm1,
        mathematics.tanh: math.tanh,
        mathematics.normal_probability: libdevice.normcdff,
    }
    return own[function] if function in own else device(function, **names)


def numbers(kind):
    """Numba's type of a named tuple of numbers, 32 bits each: integers, or floats where its class says so."""
    annotated = kind.__annotations__
    return types.NamedTuple([float32 if annotated[field] in (float, "float") else int32 for field in kind._fields], kind)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel's source, and what a launch of it needs.

    Attributes
    ----------
    function
        What Numba compiles, or what its simulator runs.
    signature
        Numba's types of the arguments: pointers, then numbers or named tuples of numbers.
    threads, shared_bytes : int
        Of one block.
    blocks : int
        How many shall fit on one multiprocessor: a thread may have 65536 // (threads * blocks) registers.
    """

    function: object
    signature: object
    threads: int
    shared_bytes: int
    blocks: int

    @cached_property
    def kinds(self):
        """Of the numbers behind the arrays, NumPy's types: tuples of them for named tuples."""
        given = [kind for kind in self.signature.args if not isinstance(kind, types.CPointer)]
        return [tuple(map(KINDS.get, kind.types)) if isinstance(kind, types.BaseTuple) else KINDS[kind] for kind in given]


KINDS = {float32: np.float32, int32: np.int32}


def kernel(signature, *, threads, shared_bytes=0, blocks=1):
    """Make a ``Kernel`` of the decorated function."""
    made = cuda.jit if SIMULATED else unrolled
    return lambda function: Kernel(made(function), signature, threads, shared_bytes, blocks)


# --------------------------------------------------------------------------------------------------------------- building


@dataclass(frozen=True)
class Cubin:
    """Machine code for one architecture and what the linker says of it."""

    code: bytes
    entry: str
    registers: int
    spilled_bytes: int
    stack_bytes: int


def build(kernel: Kernel, arch: str) -> Cubin:
    """Compile ``kernel`` for ``arch``, such as "sm_80" or "sm_90a", in a second or two, or read it from the cache."""
    place = cubin_folder() / f"{key(kernel, arch)}.cubin"
    log = place.with_suffix(".log")
    if not (place.exists() and log.exists()):
        code, text = compile_and_link(kernel, arch)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(log, text.encode())
        write_whole(place, code)
    return described(place.read_bytes(), log.read_text())


def compile_and_link(kernel, arch):
    """(the cubin, the linker's report)."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch=arch, link_time_optimization=True, verbose=True, ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ltoir(compiled(kernel, arch, "ltoir")), options=options)
    return bytes(linker.link("cubin").code), linker.get_info_log() or ""


def compiled(kernel, arch, output):
    """``kernel`` as "ltoir", for the linker, or as "ptx", for people."""
    with one_at_a_time, missing_numpy_name(), stand_in_device(capability(arch)):
        code, _ = cuda.compile(
            kernel.function,
            kernel.signature,
            device=False,
            abi="numba",
            cc=capability(arch),
            output=output,
            launch_bounds=(kernel.threads, kernel.blocks),
        )
    return code


def capability(arch):
    """(8, 0) for "sm_80"; (9, 0, "a") for "sm_90a"."""
    major, minor, feature = re.fullmatch(r"sm_(\d+)(\d)([af]?)", arch).groups()
    return (int(major), int(minor), feature) if feature else (int(major), int(minor))


def described(code, log):
    """Read the linker's report: "Used 225 registers, …", "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"."""
    entry = re.search(rb"\.text\.(\w+)\0", code).group(1).decode()
    registers = int(re.search(r"Used (\d+) registers", log).group(1))
    frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    stack, stores, loads = (int(number) for number in frame.groups())
    return Cubin(code, entry, registers, stores + loads, stack)


# ------------------------------------------------------------------------------------------------------------- the cache

TOOLS = "numba-cuda", "cuda-core", "nvidia-nvvm", "nvidia-nvjitlink"


@cache
def cubin_folder():
    """The folder for the kernels as they are now: a hash of all kernel sources and of the tools that compile them."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*.py")):
        digest.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(repr((sys.version_info[:2], [version(tool) for tool in TOOLS])).encode())
    return user_cache_folder() / "cubins" / digest.hexdigest()[:16]


def version(package):
    """Of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def key(kernel, arch):
    """A file name for the kernel: readable, and a hash of what tells it from all others of the same sources."""
    about = identity(kernel.function), str(kernel.signature), kernel.threads, kernel.shared_bytes, kernel.blocks
    return f"{kernel.function.__qualname__.split('.')[0]}-{arch}-{hashlib.sha256(repr(about).encode()).hexdigest()[:24]}"


def identity(value):
    """What tells a function from all others: where it is written and, for what a function made, what it was made with."""
    value = inspect.unwrap(getattr(value, "py_func", value))
    if isinstance(value, tuple):
        return [type(value).__name__, *map(identity, value)]
    if not isinstance(value, FunctionType):
        return repr(value)
    cells = [identity(cell.cell_contents) for cell in value.__closure__ or ()]
    return [value.__module__, value.__qualname__, cells]


def write_whole(path, data):
    """Write a file so that another process sees all of it or nothing."""
    unfinished = Path(f"{path}.{uuid.uuid4().hex[:12]}")
    unfinished.write_bytes(data)
    unfinished.replace(path)


# ------------------------------------------------------------------------------------------------- two obstacles, isolated


one_at_a_time = threading.Lock()  # both change what the whole process sees, for the moment of a compilation


@contextmanager
def missing_numpy_name():
    """NumPy 2.5 removed ``row_stack``; numba-cuda up to 0.30.4 mentions it when it compiles for the first time."""
    missing = not hasattr(np, "row_stack")
    if missing:
        np.row_stack = np.vstack
    try:
        yield
    finally:
        if missing:
            del np.row_stack


@contextmanager
def stand_in_device(capability):
    """A ``device`` function asks the driver which GPU it is for.  Where there is no driver, answer in its place.

    With one, the answer is the same for any GPU: ``build`` compiles for the architecture it is told, not for the one present.
    """
    from numba.cuda import dispatcher

    present = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability[:2])
    try:
        yield
    finally:
        dispatcher.get_current_device = present

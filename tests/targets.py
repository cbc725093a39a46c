"""Which kernels this process can run: those for CUDA in Numba's simulator, all others outside of it.

The simulator is on if NUMBA_ENABLE_CUDASIM is 1 before Numba is imported, hence in a process of its own:

    NUMBA_ENABLE_CUDASIM=1 python -m pytest -k cuda
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from fastconv_kernels.registry import Kernel

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"

SIMULATED_FLOPS = 15_000
"""Of a problem that the simulator, which runs each thread of the GPU as one of Python, may be given."""


def here(kernels: Iterable[Kernel]) -> list[Kernel]:
    """The kernels of a table that can run here."""
    return [kernel for kernel in kernels if (kernel.target == "cuda") == SIMULATED]


def small_enough(flops: int) -> bool:
    """Whether a problem of so many operations can be computed here in a moment."""
    return not SIMULATED or flops <= SIMULATED_FLOPS

"""Work that is done again and again in the same way: the kernels it starts are recorded once, then started by one call.

A *graph* knows the kernels, their arguments and their order.  Starting it costs the host a few microseconds, however many
kernels there are.  The first time the work is simply done, so that all kernels are built and all workspaces taken; the second
time it is recorded, on a stream of its own since the default one cannot be; from then on the record is started.

What changes from one time to the next has to be in memory: the numbers that kernels were given stay those of the record.
In the simulator the work is done every time.

NOT YET RUN ON HARDWARE: written against cuda.core 1.2 on a machine without a GPU.

Source: CUDA C++ Programming Guide, "CUDA Graphs"; cuda.core, ``GraphBuilder``.
"""

from collections.abc import Callable
from typing import Any

from .asm import SIMULATED
from .launch import on_stream, rehearsed, stream_here


class Repeated:
    """``repeated()`` does ``work()``, on the current stream."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work, self._done = work, False
        self._graph: Any = None

    def __call__(self) -> None:
        if SIMULATED or rehearsed.get() is not None:
            self._work()
            return
        if not self._done:
            self._work()
            self._done = True
            return
        if self._graph is None:
            self._graph = recorded(self._work)
        self._graph.launch(stream_here())


def recorded(work):
    """The graph of all kernels that ``work()`` would start on the current device; none of them runs."""
    from cuda.core import Device

    builder = Device().create_stream().create_graph_builder().begin_building()
    try:
        with on_stream(builder.stream):
            work()
    finally:
        builder.end_building()
    return builder.complete()

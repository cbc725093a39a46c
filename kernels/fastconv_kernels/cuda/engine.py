"""What the loop along K needs of an engine: a tile, two panels, and three functions."""

from typing import Any, NamedTuple

from .panel import Panel

BOX_ALIGNMENT = 1024


class Tile(NamedTuple):
    """The part of C that a block computes, how its warps share it, and how many slices of K are in shared memory at once."""

    rows: int
    columns: int
    warp_rows: int
    warp_columns: int
    stages: int
    blocks: int
    """How many shall fit on one multiprocessor."""

    @property
    def warps_across(self):
        return self.columns // self.warp_columns

    @property
    def threads(self):
        return 32 * (self.rows // self.warp_rows) * self.warps_across


class Engine(NamedTuple):
    """How a block multiplies two panels.

    ``multiply(sums, fragments, shared, slot, thread)`` adds the product of the panels at word ``slot`` of shared memory,
    A's and behind it B's, to this thread's ``sums``; ``fragments`` are registers for it.  Panels that are ``boxes`` begin at
    multiples of 1024 bytes, and other units than those that copy them read them.
    ``finish(c, sums, bias, addend, quotient, thread, row0, column0, g, epilogue)`` writes them into C.
    """

    tile: Tile
    a_panel: Panel
    b_panel: Panel
    sums: int
    fragments: int
    fragment_type: str
    multiply: Any
    finish: Any
    boxes: bool = False

    @property
    def depth(self):
        return self.a_panel.depth

    @property
    def stage(self):
        """Words of shared memory for one slice of K."""
        return self.a_panel.size + self.b_panel.size

    @property
    def ring(self):
        return self.tile.stages * self.stage

    @property
    def shared_bytes(self):
        return 4 * self.ring + (BOX_ALIGNMENT if self.boxes else 0)

"""How images are cut into patches, and which points those at their ends meet, whose outputs exist in part alone."""

import numpy as np

from ..cpu.workspace import address_of
from .patches_cpu import ALL_MEET, Ends, Patches
from .toom_cook import completion


def cut_images(images, source, target, steps, matrices=None, existing=None, dtype=None, planes=False):
    """(``Patches`` of the source and of the target, ``Ends``, what must be kept as long as these).

    source: (rows, columns, channels, top, left), top and left where the first patch begins; target: (rows, columns, channels);
    steps: pixels from one patch to the next in both; matrices: of the transforms, None: all patches meet all points;
    existing: of how many of a patch's outputs exist → which (outputs, taps, pixels) count, in a row or a column; planes:
    whether rows of patches stay together, because they are brought to channels last together
    """
    (*size, top, left), step = source, steps[1]
    counts = [-(-length // step) for length in target[:2]]
    ends, full, kept = ALL_MEET, counts, []
    if matrices is not None:
        few = target[0] - (counts[0] - 1) * step, step if planes else target[1] - (counts[1] - 1) * step
        pixels, lines, points = zip(*(completion(matrices, *existing(outputs)) for outputs in few), strict=True)
        kept = [np.ascontiguousarray(factors, dtype) for factors in pixels]
        ends = Ends(*map(_bits, points), *map(_bits, lines), *map(address_of, kept))
        full = [count - (len(met) < len(matrices.input)) for count, met in zip(counts, points, strict=True)]
    ways = Patches(*size, *counts, top, left, steps[0], images, *full), Patches(*target, *counts, 0, 0, step, images, *full)
    return *ways, ends, kept


def _bits(numbers):
    """An integer whose bits of these numbers are set."""
    return sum(1 << number for number in numbers)

"""``python -m benchmarks.pages``: write every generated page anew from ``results``, without measuring.

RESULTS.md, each machine's page of rows, the figures and the picture of README.md, and the table of kernels/README.md; tests
fail while one is stale.
"""

from __future__ import annotations

from . import catalogue, readme, results

if __name__ == "__main__":
    results.write()
    catalogue.write()
    readme.write()

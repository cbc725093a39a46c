"""Measurements: pytest-benchmark suites of single calls, and programs that compare with PyTorch, NumPy and the machine."""

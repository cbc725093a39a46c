"""``python -m benchmarks.gpu``: kernels for CUDA on a GPU, verified, then timed; ``pytest -m gpu`` verifies more of them."""

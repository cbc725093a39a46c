"""The kernels that fastconv launches: NumPy references, and Numba kernels for the CPU, one folder an operator family.

``problems`` says what is computed, ``registry`` who can compute it, ``cpu`` holds the vocabulary that the CPU kernels are
written in.
"""

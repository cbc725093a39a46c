"""Transposing a matrix, written once: one element of it."""


def move(x, out, row, column, rows, columns):
    """out (columns, rows) [column, row] = x (rows, columns) [row, column]"""
    out[column * rows + row] = x[row * columns + column]

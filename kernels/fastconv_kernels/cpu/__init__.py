"""The CPU's vocabulary: vectors, register tiles, packing, workspaces, compilation and threads."""

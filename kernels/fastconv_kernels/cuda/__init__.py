"""The GPU's vocabulary, in layers: each file knows only those above it.

unrolling   loops and conditions over constants, written out before Numba sees them
asm         how a line of PTX becomes a *word*, and what a word's operands are
lanes       what the simulator lacks: the lanes of a warp acting together, copies that arrive late
memory · copies · matrices · warp · integers      the words, each with its twin in Python
build       a kernel becomes machine code, on any machine; launch starts it, on a GPU or in the simulator
arrays      arrays of any library as addresses, shapes and strides
grid · stream      loops over single elements: how many blocks share them; one pass over flat arrays
channel_sums · workspace      sums for each channel, in a fixed order; memory that a plan keeps
panel       an operand's slice in shared memory: where each element lies, and how it comes there
epilogue    what becomes of a sum before it is written
arithmetic · batches · tally · graph      for a network: sums of arrays, batches of a data set, its losses, a step as a record
engine · simt · tensor_core      how a block multiplies two slices
pipeline    the product of two operands, around any engine: the loop along K with copies that run ahead
barriers · warpgroup · tensor_map      the words of Hopper: copies of boxes, products of warpgroups, who waits for what
warpgroup_engine      an engine for the pipeline, of Hopper's warpgroups
k_major     an operand brought into the form that warpgroups multiply
implicit    the plan of a convolution as a product, what its directions have in common
operands    on the host: which variant of a kernel the arrays of a call need

Nothing here is imported before a kernel for CUDA is asked for.  ``available`` says without importing anything whether one can
be had.
"""

"""How a word becomes machine code: a line of PTX, its operands filled in, in the middle of Numba's LLVM code.

    @word("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {out}, [{row}];", out=results(4), row=ADDRESS)
    def load_matrices(out, row): ... the same in Python ...

The template names its operands and the keywords say what each one is.  A kernel passes addresses: of registers (a local
array whose every index is constant becomes registers), of shared or of global memory.  Where Numba's simulator runs,
``word`` gives back the Python function itself: its *twin*.  The words stand in ``memory``, ``copies``, ``matrices`` and
``integers``, each with its twin beneath it.

Sources: LLVM Language Reference, "Inline Assembler Expressions"; NVIDIA, "Inline PTX Assembly in CUDA".
"""

import inspect
from functools import wraps
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import config

SIMULATED = bool(config.ENABLE_CUDASIM)

if not SIMULATED:
    from numba.cuda import types  # numba-cuda has types of its own, and only these will do
    from numba.cuda.extending import intrinsic

INT32, INT64 = ir.IntType(32), ir.IntType(64)
LETTERS = {"float": "f", "i16": "h", "i32": "r", "i64": "l"}  # LLVM's type → the constraint for its register


class Registers(NamedTuple):
    """``number`` registers side by side in a local array, read, written or both."""

    number: int
    reads: bool
    writes: bool

    def places(self, builder, pointer):
        return [builder.gep(pointer, [INT32(j)]) for j in range(self.number)]

    def inputs(self, builder, _type, pointer):
        return [builder.load(place) for place in self.places(builder, pointer)] if self.reads else []

    def outputs(self, builder, pointer):
        return self.places(builder, pointer) if self.writes else []


class Address(NamedTuple):
    """An address, as ``at`` (global memory: a pointer) or ``shared_at`` (shared memory: 32 bits) makes it."""

    def inputs(self, builder, _type, address):
        return [builder.ptrtoint(address, INT64) if isinstance(address.type, ir.PointerType) else address]

    def outputs(self, _builder, _address):
        return []


class Number(NamedTuple):
    """A 32-bit integer; a ``literal`` one is part of the instruction and must be a constant of the source."""

    literal: bool

    def inputs(self, builder, number, value):
        if isinstance(number, types.IntegerLiteral):
            return [INT32(number.literal_value)]
        if value.type.width < 32:  # a boolean
            return [builder.zext(value, INT32)]
        return [builder.trunc(value, INT32) if value.type.width > 32 else value]

    def outputs(self, _builder, _value):
        return []


ADDRESS = Address()
INTEGER, LITERAL = Number(literal=False), Number(literal=True)


def registers(count):
    return Registers(count, reads=True, writes=False)


def results(count):
    return Registers(count, reads=False, writes=True)


def updated(count):
    return Registers(count, reads=True, writes=True)


def word(text, *, pure=False, **kinds):
    """Make a word of a line of PTX; the decorated function is its twin for the simulator.

    A ``pure`` word depends on its registers alone, and the compiler may move it or leave it out.  Any other touches memory
    or waits, and stays where it is written.
    """

    def decorate(twin):
        if list(inspect.signature(twin).parameters) != list(kinds):
            raise TypeError(f"{twin.__name__}: the twin and the operands differ")
        if SIMULATED:
            return twin

        @wraps(twin)
        def typing(_context, *operands):
            literal = [isinstance(operand, types.Literal) for operand in operands]
            if any(kind == LITERAL and not is_literal for kind, is_literal in zip(kinds.values(), literal, strict=True)):
                return None  # Numba asks again, with literals

            def generate(context, builder, signature, values):
                assemble(builder, text, pure, kinds, signature.args, values)
                return context.get_dummy_value()

            return types.void(*operands), generate

        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        typing.__signature__ = inspect.Signature([context, *inspect.signature(twin).parameters.values()])
        return intrinsic(typing)

    return decorate


def assemble(builder, text, pure, kinds, operand_types, values):
    """Call the inline assembly ``text``.

    LLVM numbers the outputs first, then the inputs.  A register that is read and written is an output, and an input *tied*
    to that output by its number; tied inputs come last, since the text never refers to them.  No output shares the register of
    another input (the & of its constraint): a word may be several instructions.
    """
    places, names, arguments, letters, tied = [], {}, [], [], []
    for (name, kind), value in zip(kinds.items(), values, strict=True):
        outputs = kind.outputs(builder, value)
        names[name] = range(len(places), len(places) + len(outputs))
        places += outputs
    for (name, kind), operand, value in zip(kinds.items(), operand_types, values, strict=True):
        inputs = kind.inputs(builder, operand, value)
        if names[name]:
            tied += zip(inputs, names[name], strict=False)  # no inputs, if it is only written
        else:
            names[name] = range(len(places) + len(arguments), len(places) + len(arguments) + len(inputs))
            arguments += inputs
            letters += ["n" if kind == LITERAL else LETTERS[str(value.type)] for value in inputs]
    arguments += [value for value, _ in tied]
    constraints = ["=&" + LETTERS[str(place.type.pointee)] for place in places] + letters + [str(number) for _, number in tied]
    returned = ir.LiteralStructType([place.type.pointee for place in places]) if places else ir.VoidType()
    if len(places) == 1:
        returned = places[0].type.pointee
    signature = ir.FunctionType(returned, [value.type for value in arguments])
    filled = text.format(**{name: group(numbers) for name, numbers in names.items()})
    clobbers = [] if pure else ["~{memory}"]
    answer = builder.call(ir.InlineAsm(signature, filled, ",".join(constraints + clobbers), side_effect=not pure), arguments)
    for j, place in enumerate(places):
        builder.store(answer if len(places) == 1 else builder.extract_value(answer, j), place)


def group(numbers):
    """``$4``, or ``{$0, $1, $2, $3}`` where PTX wants several registers as one operand."""
    listed = ", ".join(f"${number}" for number in numbers)
    return listed if len(numbers) == 1 else "{" + listed + "}"

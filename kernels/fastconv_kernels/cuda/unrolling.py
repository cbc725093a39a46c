"""What is known before compilation is written out before Numba sees it: loops, sizes, conditions.

``for i in unroll(n):`` is written once and compiled as n copies of its body, each with its own constant i.  The running sums
of a kernel stay in registers only if every index into them is a constant when LLVM looks for registers: a register has no
address.  Short innermost loops LLVM unrolls by itself; the step along K, with hundreds of instructions in it, it does not,
and then the sums move to memory.  Unroll that one, and no more: compile time grows with every copy.

``tile.rows``, of a tuple that the function sees from outside, becomes its number, and ``if`` about such numbers alone keeps
only the branch that is taken: a kernel is written for every tile, and compiled for one.

In the simulator, and to a reader, ``unroll`` is ``range``.
"""

import ast
import copy
import functools
import inspect
import textwrap
import types

unroll = range


def unrolled(function):
    """The same function with what is known of it written out; file and line numbers stay true."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    definition.decorator_list = []
    Known(seen_from(function)).visit(definition)
    ast.fix_missing_locations(ast.increment_lineno(tree, function.__code__.co_firstlineno - 1))
    return rebuilt(function, definition)


def seen_from(function):
    """The names that the function has from outside, with their values."""
    outside = inspect.getclosurevars(function)
    own = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
    return {name: value for name, value in {**outside.globals, **outside.nonlocals}.items() if name not in own}


def rebuilt(function, definition):
    """The function of a changed ``definition``, with the globals and the variables of outer functions that it had."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    outer = ast.parse(f"def outer({', '.join(cells)}): pass")  # so that those variables are free in it again
    outer.body[0].body = [definition]
    code = compile(ast.fix_missing_locations(outer), function.__code__.co_filename, "exec")
    for _ in range(2):
        code = next(constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    closure = tuple(cells[name] for name in code.co_freevars)
    made = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    return functools.wraps(function)(made)  # ``__wrapped__`` tells which constants it was made with


class Known(ast.NodeTransformer):
    """Puts the values of ``names`` in place: bounds of ``unroll`` loops, fields of tuples, conditions."""

    def __init__(self, names):
        self.names = names

    def value(self, expression):
        """The expression's value; LookupError if it is not known."""
        for node in ast.walk(expression):
            if isinstance(node, ast.Name) and node.id not in self.names:
                raise LookupError(node.id)
            if isinstance(node, ast.Name) and not isinstance(self.names[node.id], (int, tuple, str)):
                raise LookupError(f"{node.id} is no constant")
            if isinstance(node, ast.Call):
                raise LookupError("a call")
        return eval(compile(ast.Expression(expression), "known", "eval"), {"__builtins__": {}}, self.names)

    def visit_For(self, loop):
        call = loop.iter
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "unroll"):
            return self.generic_visit(loop)
        if any(isinstance(node, ast.Break | ast.Continue) for node in ast.walk(loop)):
            raise SyntaxError("break and continue have no meaning in an unroll() loop")
        try:
            bounds = [self.value(bound) for bound in call.args]
        except LookupError as unknown:
            raise SyntaxError(f"unroll({', '.join(map(ast.unparse, call.args))}): {unknown} is not known beforehand") from None
        body = []
        for i in range(*bounds):
            inside = Known({**self.names, loop.target.id: i})
            for statement in loop.body:
                changed = inside.visit(Substitute(loop.target.id, i).visit(copy.deepcopy(statement)))
                body += changed if isinstance(changed, list) else [changed]
        return body

    def visit_If(self, condition):
        try:
            branch = condition.body if self.value(condition.test) else condition.orelse
        except LookupError:
            return self.generic_visit(condition)
        kept = []
        for statement in branch:
            changed = self.visit(statement)
            kept += changed if isinstance(changed, list) else [changed]
        return kept or [ast.copy_location(ast.Pass(), condition)]

    def visit_Attribute(self, field):
        self.generic_visit(field)
        if not (isinstance(field.value, ast.Name) and isinstance(self.names.get(field.value.id), tuple)):
            return field
        value = getattr(self.names[field.value.id], field.attr)
        return ast.copy_location(ast.Constant(value), field) if isinstance(value, int) else field


class Substitute(ast.NodeTransformer):
    """Puts a constant in the place of a name."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def visit_Name(self, node):
        return ast.copy_location(ast.Constant(self.value), node) if node.id == self.name else node

"""Compiling no more than is called: inner functions are linked into their callers, and only what Python calls is executable.

Numba makes every function ready to be called from Python and from C, by two wrappers with a copy of the function in each, and
machine code of the three; the body of a parallel loop is optimised and made machine code four times.  Of a kernel's inner
functions none of that is ever used.  Here they, and what else Numba makes on the way, such as the bodies of parallel loops,
are kept as LLVM's code and optimised in the function that Python calls, of which they become a part: once, where an inner
function's inner functions would be optimised again at each level.  Training a network for the first time compiles for less
than two thirds of the time.

Nor is it found out again, at each of thousands of places, what the sum of two integers is.

Source: Numba documentation, "Numba architecture"; numba/core/codegen.py, typed_passes.py and types/functions.py.
"""

import gc
from contextlib import contextmanager
from functools import partial
from types import BuiltinFunctionType

import llvmlite.binding as llvm
from numba.core import dispatcher
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult, DefaultPassBuilder
from numba.core.registry import CPUDispatcher
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import InlineOverloads, NopythonRewrites
from numba.core.types.functions import BaseFunction
from numba.core.untyped_passes import InlineClosureLikes

from .dataless import define_constants
from .subnormals import counted_as_zero, switchable

PYTHON_WRAPPER, PARALLEL_WRAPPER = "_ZN7cpython", "__gufunc__."
"""How the names begin of what Numba puts around a function that Python calls, and around the body of a parallel loop."""

LAUNCH = ".kernel."
"""How the name begins of what a function calls to launch a parallel loop: it sets no switches, which threads that are started
there would inherit for good."""


IDLE = {InlineClosureLikes, InlineOverloads, NopythonRewrites}
"""Numba's passes for closures, inlined overloads and expressions of arrays, which only parallel loops have among kernels."""


class ExecutableLibrary(JITCodeLibrary):
    """Code that gets addresses, with all that is linked to it."""

    def _optimize_final_module(self):
        define_constants(self._final_module)
        super()._optimize_final_module()


class KernelLibrary(ExecutableLibrary):
    """Code of which a part is entered from outside: by Python, or by one of Numba's threads."""

    def add_ir_module(self, module):
        launches = any(name.startswith(LAUNCH) for name in module.globals)
        if switchable() and not launches:
            for function in module.functions:
                if not function.is_declaration and self.entered(function.name):
                    counted_as_zero(function)
        super().add_ir_module(module)

    def entered(self, name):
        """Whether a function of this name is where a thread enters to compute: here what Python's wrapper calls."""
        return not name.startswith(PYTHON_WRAPPER)


class LinkedLibrary(KernelLibrary):
    """Code that becomes a part of another's: it is optimised there, and gets no addresses."""

    def entered(self, name):
        return name.startswith(PARALLEL_WRAPPER)

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def serialize_using_object_code(self):
        """What the cache keeps: there is no object code."""
        return self.serialize_using_bitcode()


@contextmanager
def libraries(codegen, kind):
    """Inside the ``with`` libraries are of the class ``kind`` unless somebody makes another by its name."""
    before = codegen._library_class, codegen.set_env
    codegen._library_class, codegen.set_env = kind, partial(_set_environment, codegen)
    try:
        yield
    finally:
        codegen._library_class, codegen.set_env = before


def _set_environment(codegen, name, environment):
    """Numba's own, for what has an address."""
    if codegen._engine.is_symbol_defined(name):
        type(codegen).set_env(codegen, name, environment)


@contextmanager
def no_collection():
    """Leave the search for unreachable objects until later: a compiler makes many objects, nearly all of which it keeps."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


_resolved = BaseFunction.get_call_type


def _resolved_once(function, context, args, kws):
    """Numba's own for an operator, which asks a dozen templates, but for the same types one time: a tenth of compiling."""
    if kws or not isinstance(function.typing_key, BuiltinFunctionType):
        return _resolved(function, context, args, kws)
    known = function.__dict__.setdefault("_fastconv_resolved", {})  # a function that gets more templates is another object
    if args not in known:
        known[args] = _resolved(function, context, args, kws)
    return known[args]


@contextmanager
def operators_resolved_once():
    """Inside the ``with`` Numba finds the type of an operator's result once for each types of operands."""
    before, BaseFunction.get_call_type = BaseFunction.get_call_type, _resolved_once
    try:
        yield
    finally:
        BaseFunction.get_call_type = before


class GradualLibrary(LinkedLibrary):
    """The same for functions that count subnormal numbers."""

    def entered(self, name):
        return False


class KernelCompiler(Compiler):
    """Numba's compiler, into a library of the class ``library``; what it makes on the way is of the class ``linked``."""

    library: type[JITCodeLibrary] = KernelLibrary
    linked = LinkedLibrary

    def define_pipelines(self):
        for option in ("fastmath", "forceinline"):  # the function's own: what it is the first to call would have them too
            ConfigStack().top().discard(option)
        if self.state.flags.auto_parallel.enabled:
            return super().define_pipelines()
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.passes = [(work, name) for work, name in pipeline.passes if work not in IDLE]
        return [pipeline]

    def _compile_core(self):
        codegen = self.state.targetctx.codegen()
        self.state.library = self.library(codegen, self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        with libraries(codegen, self.linked), operators_resolved_once(), no_collection():
            return super()._compile_core()


class GradualCompiler(KernelCompiler):
    """Of functions that count subnormal numbers: results near zero lose their accuracy gradually."""

    library, linked = ExecutableLibrary, GradualLibrary


class LinkedCompiler(KernelCompiler):
    library = LinkedLibrary


class LinkedFunctions(dispatcher._FunctionCompiler):  # type: ignore[name-defined]
    """The variants of one function for the types that it is called with; alone: LLVM keeps it out of its callers."""

    noalias = alone = False

    def _customize_flags(self, flags):
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        flags.noalias = self.noalias
        return flags

    def _compile_core(self, args, return_type):
        compiled = super()._compile_core(args, return_type)
        if self.alone:
            function = compiled.library._final_module.get_function(compiled.fndesc.llvm_func_name)
            function.add_function_attribute("noinline")
        return known(compiled._replace(entry_point=Key()))


class Key:
    """Stands for a variant where Numba looks up by its Python function what code a call is of."""


class LinkedDispatcher(CPUDispatcher):
    """A function for compiled code alone."""

    def __init__(self, function, options):
        super().__init__(function, targetoptions=options)
        self._compiler = LinkedFunctions(function, self.targetdescr, options, {}, LinkedCompiler)

    def add_overload(self, compiled):
        self.overloads[tuple(compiled.signature.args)] = compiled

    def _compile_for_args(self, *_arguments, **_named):
        raise TypeError(f"{self.py_func.__qualname__}: only compiled functions can call it")


def known(compiled):
    """``compiled``, which from now on Numba finds for calls of its signature."""
    compiled.target_context.insert_user_function(compiled.entry_point, compiled.fndesc, [compiled.library])
    return compiled


def executable(target_context, reduced):
    """What ``CompileResult._reduce`` has made of a function that Python calls, as the cache kept it."""
    with libraries(target_context.codegen(), JITCodeLibrary):
        return CompileResult._rebuild(target_context, *reduced)


def restored(target_context, reduced):
    """What ``CompileResult._reduce`` has made of a linked function, as the cache kept it."""
    (name, _, bitcode), fndesc, environment, signature, _, lifted, annotation, reload_init, environments = reduced
    library = LinkedLibrary(target_context.codegen(), name)
    library._final_module = llvm.parse_bitcode(bitcode)
    library._finalize_final_module()
    return CompileResult(
        typing_context=target_context.typing_context,
        target_context=target_context,
        entry_point=Key(),
        typing_error=None,
        type_annotation=annotation,
        signature=signature,
        objectmode=False,
        lifted=lifted,
        fndesc=fndesc,
        library=library,
        call_helper=None,
        environment=environment,
        metadata=None,
        reload_init=reload_init,
        referenced_envs=environments,
    )

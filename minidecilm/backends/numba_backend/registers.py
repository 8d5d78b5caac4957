"""Vector registers as Numba knows them: their lanes on this CPU, their types, and how intrinsics are made."""

from collections.abc import Callable
from functools import update_wrapper
from inspect import Parameter, Signature, signature
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

# Numba's own description of the CPU it compiles for: part of the key under which it caches compiled code, so
# what follows from it can be a constant of that code.
FEATURES = frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))
VNNI = {"+avx512f", "+avx512bw", "+avx512vnni"} <= FEATURES
#: Whether it multiplies pairs of bfloat16 and adds them to a float32, by one instruction.
BFLOAT16_DOTS = VNNI and "+avx512bf16" in FEATURES
#: Whether this CPU has what the explicit kernels need.
USABLE = {"+avx2", "+fma"} <= FEATURES
LANES = 16 if VNNI else 8

# LLVM's types of a number, and of what a register holds.
FLOAT, INT, BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(8)
FLOAT_LANES, INT_LANES = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)


class Register(types.Type):
    """LANES float32 values; or LANES int32 values, which may stand for 4 * LANES bytes."""


FLOATS, INTS = Register(f"float32x{LANES}"), Register(f"int32x{LANES}")


@register_model(Register)
class _RegisterModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: types.Type) -> None:
        super().__init__(manager, kind, FLOAT_LANES if kind == FLOATS else INT_LANES)


class ArrayCode:
    """An array as LLVM code has it; an offset counts elements from the first one."""

    def __init__(self, context: Any, builder: Any, kind: types.Array, value: Any) -> None:
        self.dtype, self.element, self.builder = kind.dtype, context.get_data_type(kind.dtype), builder
        self._data = context.make_array(kind)(context, builder, value).data

    def pointer(self, offset: Any, to: Any) -> Any:
        """Pointer to what `to` describes, at an element."""
        return self.builder.bitcast(self.builder.gep(self._data, [offset]), to.as_pointer())

    def load(self, offset: Any, kind: Any, align: int = 1) -> Any:
        """Load what `kind` describes, whatever the elements are."""
        return self.builder.load(self.pointer(offset, kind), align=align)

    def store(self, offset: Any, value: Any, align: int = 1) -> None:
        """Write a value of any type."""
        self.builder.store(value, self.pointer(offset, value.type), align=align)


def operation(result: Any, *kinds: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make an intrinsic of a function that writes its LLVM code, given a builder and the arguments.

    `kinds` are the types of the arguments. A tuple stands for an array with elements of one of these types,
    which the function gets as an :class:`ArrayCode`.
    """

    def decorate(write: Callable[..., Any]) -> Any:
        def typed(typing: Any, *given: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                arguments = (
                    ArrayCode(context, builder, actual, value) if isinstance(kind, tuple) else value
                    for kind, actual, value in zip(kinds, given, values, strict=True)
                )
                written = write(builder, *arguments)
                return context.get_dummy_value() if result is types.void else written

            taken = []
            for kind, actual in zip(kinds, given, strict=True):
                if isinstance(kind, tuple) and not (isinstance(actual, types.Array) and actual.dtype in kind):
                    return None
                taken.append(actual if isinstance(kind, tuple) else kind)
            return result(*taken), generate

        names = "typing", *[*signature(write).parameters][1:]
        parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        update_wrapper(typed, write).__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return intrinsic(typed)

    return decorate


def call(builder: Any, name: str, result: Any, *arguments: Any, fastmath: Any = ()) -> Any:
    """Call a function of LLVM or of the CPU."""
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, arguments, fastmath=fastmath)


def constant(value: float, kind: Any = FLOAT_LANES) -> Any:
    """Give every element of a vector one value."""
    return ir.Constant(kind, [value] * kind.count)


def lanes(numbers: list[int]) -> Any:
    """Lanes to take, for a shuffle of two vectors."""
    return ir.Constant(ir.VectorType(INT, len(numbers)), numbers)


def in_all_lanes(builder: Any, scalar: Any) -> Any:
    """Repeat a value LANES times."""
    one = builder.insert_element(ir.Constant(ir.VectorType(scalar.type, 1), ir.Undefined), scalar, INT(0))
    return builder.shuffle_vector(one, one, lanes([0] * LANES))

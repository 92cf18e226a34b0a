"""Leaves looked up in the processor's registers: one AVX-512 instruction finds those of 64 rows in a table of 64 bytes.

A leaf's number is a place in a table of at most 64, and VPERMB takes 64 places from such a table at once; a loop takes
each with a load of its own. A value is wider than a byte, so it is cut into digits of six bits. Digits of four trees
add up to less than 256, and of 1,024 trees to less than 65,536: nothing is carried before that.

Numba has no word for this, so the instructions are said to LLVM. Where the processor does not have them (AVX-512 VBMI:
Intel since Ice Lake, AMD since Zen 4), `can_permute` is false when kernels are compiled, and a loop adds the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

#: Rows of one instruction, and the most leaves that a tree may have.
LINE = 64
#: Levels of a tree of so many leaves.
LEVELS = 6
#: Trees that are added without a carry, and groups of such whose sums need none.
TOGETHER, MOST_GROUPS = 4, 256
#: Digits of a leaf, and bits of a digit.
DIGITS, DIGIT_BITS = 8, 6

_BYTE, _WORD, _OFFSET = ir.IntType(8), ir.IntType(16), ir.IntType(64)
_BYTES, _WORDS = ir.VectorType(_BYTE, LINE), ir.VectorType(_WORD, LINE // 2)


def digits_of(leaf: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Leaves (T, L) from 0 to 2**48 - 1 as tables of digits, shape (G, 8, 4, 64): groups, digits, trees, leaves."""
    trees, leaves = leaf.shape
    groups = -(-trees // TOGETHER)
    tables = np.zeros((groups * TOGETHER, DIGITS, LINE), np.uint8)
    for digit in range(DIGITS):
        tables[:trees, digit, :leaves] = leaf >> digit * DIGIT_BITS & (1 << DIGIT_BITS) - 1
    return aligned(tables.reshape(groups, TOGETHER, DIGITS, LINE).swapaxes(1, 2))


def aligned(values: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins with a cache line: a load of a line that is in two takes twice as long."""
    room = np.empty(values.nbytes + LINE, np.uint8)
    first = -room.ctypes.data % LINE
    out = room[first : first + values.nbytes].view(values.dtype).reshape(values.shape)
    out[...] = values
    return out


@intrinsic
def can_permute(typing_context: Any) -> Any:  # noqa: ARG001
    """Whether the processor that is compiled for has the instructions; known when that is done."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return ir.Constant(ir.IntType(1), _has_instructions(context))

    return types.boolean(), generate


@intrinsic
def add_group(
    typing_context: Any,  # noqa: ARG001
    bins: Any,
    line: Any,
    bound: Any,
    tables: Any,
    sums: Any,
    row: Any,  # noqa: ARG001
    group: Any,  # noqa: ARG001
) -> Any:
    """Add the leaves of one group of trees for 64 rows to their sums; only where `can_permute`.

    Args:
        typing_context: Numba's; the caller does not give it.
        bins: (F * W,) bins of W rows of each used feature, uint8.
        line: (G * 4 * 6,) where in it the feature of each question begins, int32.
        bound: (G * 4 * 6,) the question's bit is set where the bin is above this, uint8.
        tables: (G, 8, 4, 64) of `digits_of`.
        sums: (W * 8,) sums of digits, uint16: of each 64 rows each digit of the even ones, then of the odd ones.
        row: the first of the 64 rows, a multiple of 64.
        group: which.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _has_instructions(context):
            data = [context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in range(5)]
            _generate_group(builder, *data, row=arguments[5], group=arguments[6])
        return context.get_dummy_value()

    return types.void(bins, line, bound, tables, sums, types.intp, types.intp), generate


def _has_instructions(context: Any) -> bool:
    return "+avx512vbmi" in context.codegen().magic_tuple()[2].split(",")


def _generate_group(
    builder: Any, bins: Any, line: Any, bound: Any, tables: Any, sums: Any, *, row: Any, group: Any
) -> None:
    """The instructions of `add_group`; everything but rows and group is unrolled."""

    def at(pointer: Any, place: Any, factor: int = 1) -> Any:
        return builder.gep(pointer, [builder.mul(place, _OFFSET(factor))])

    def whole(pointer: Any, place: int, kind: Any) -> Any:
        return builder.bitcast(builder.gep(pointer, [_OFFSET(place)]), kind.as_pointer())

    permute = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_BYTES, [_BYTES, _BYTES]), "llvm.x86.avx512.permvar.qi.512"
    )
    bins, sums = at(bins, row), at(sums, row, DIGITS)
    line, bound = at(line, group, TOGETHER * LEVELS), at(bound, group, TOGETHER * LEVELS)
    tables = at(tables, group, TOGETHER * DIGITS * LINE)
    numbers = [_generate_number(builder, bins, at(line, _OFFSET(LEVELS * k)), at(bound, _OFFSET(LEVELS * k)))
               for k in range(TOGETHER)]  # fmt: skip
    for digit in range(DIGITS):
        total = _splat(_BYTES, 0)
        for k, number in enumerate(numbers):
            table = builder.load(whole(tables, LINE * (TOGETHER * digit + k), _BYTES), align=1)
            total = builder.add(total, builder.call(permute, [table, number]))
        pairs = builder.bitcast(total, _WORDS)
        even, odd = builder.and_(pairs, _splat(_WORDS, 255)), builder.lshr(pairs, _splat(_WORDS, 8))
        for half, part in enumerate((even, odd)):
            place = whole(sums, LINE // 2 * (2 * digit + half), _WORDS)
            builder.store(builder.add(builder.load(place, align=LINE), part), place, align=LINE)


def _generate_number(builder: Any, bins: Any, line: Any, bound: Any) -> Any:
    """Which leaf of one tree each of 64 rows comes to."""
    number, nothing = _splat(_BYTES, 0), ir.Constant(_BYTES, ir.Undefined)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LINE), [0] * LINE)
    for level in range(LEVELS):
        where = builder.zext(builder.load(builder.gep(line, [_OFFSET(level)])), _OFFSET)
        values = builder.load(builder.bitcast(builder.gep(bins, [where]), _BYTES.as_pointer()), align=LINE)
        limit = builder.insert_element(nothing, builder.load(builder.gep(bound, [_OFFSET(level)])), _OFFSET(0))
        above = builder.icmp_unsigned(">", values, builder.shuffle_vector(limit, nothing, everywhere))
        bit = builder.select(above, _splat(_BYTES, 1 << level), _splat(_BYTES, 0))
        number = builder.or_(number, bit)
    return number


def _splat(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)

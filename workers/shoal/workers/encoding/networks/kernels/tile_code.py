"""The microkernels of attention for numba: one tile of a matrix product, and softmax numerators, in AVX-512 instructions.

They are written as LLVM IR because a compiler that is given the loops keeps the sums in memory, not in registers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

TILE_ROWS = 6
"""Rows of a tile: with four vectors per row, 24 of the 32 registers hold sums."""

VECTOR_FLOATS = 16
"""float32 numbers per AVX-512 vector."""

MASKED = -1e30
"""The score of a masked key. Not -inf: with fast math the compiler may assume that all numbers are finite."""

_FLOAT, _WORD = ir.FloatType(), ir.IntType(32)
_VECTOR, _WORDS = ir.VectorType(_FLOAT, VECTOR_FLOATS), ir.VectorType(_WORD, VECTOR_FLOATS)


class _BFloat(ir.types.Type):
    """LLVM's bfloat type, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


# Allows fused multiply-add, and no other fast-math transformation.
_FUSED = ("contract",)
_PAIRS = ir.VectorType(_BFloat(), 2 * VECTOR_FLOATS)


@functools.cache
def tiles_work(bfloat16: bool) -> bool:
    """Whether this CPU has the instructions for tiles of float32, or of pairs of bfloat16."""
    features = binding.get_host_cpu_features()
    return bool(features.get("avx512f", False) and (not bfloat16 or features.get("avx512bf16", False)))


def _accessors(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Callable[[int], Any], ...]:
    """For an intrinsic's code: an array argument as a float32 pointer, an integer argument, an integer constant."""

    def array(argument: int) -> Any:
        data = context.make_array(signature.args[argument])(context, builder, arguments[argument]).data
        return builder.bitcast(data, _FLOAT.as_pointer())

    def integer(argument: int) -> Any:
        return context.cast(builder, arguments[argument], signature.args[argument], types.intp)

    def constant(value: int) -> Any:
        return ir.Constant(integer(1).type, value)

    return array, integer, constant


def _multiply_tile(
    typing_context: Any,
    x: Any,
    x_at: Any,
    x_stride: Any,
    rows: Any,
    weight: Any,
    weight_at: Any,
    steps: Any,
    sums: Any,
    sums_at: Any,
    sums_stride: Any,
    vectors: Any,
) -> Any:
    """Computes TILE_ROWS rows of `sums` = rows of `x` times `weight`.

    All arrays have one dimension; positions and strides count their elements. Row r of `x` begins at `x_at + r * x_stride`
    and has `steps` elements. Only the first `rows` (at least 1) are meaningful: the others repeat the last of them.
    `weight` holds, from `weight_at`, for each step the elements of `vectors` * VECTOR_FLOATS columns. Row r of the float32
    sums begins at `sums_at + r * sums_stride`.

    `x` and `weight` are both float32, or both uint32, where each element is a pair of bfloat16 and a step adds both
    products. `vectors` is a compile-time constant.
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    signature = types.void(x, x_at, x_stride, rows, weight, weight_at, steps, sums, sums_at, sums_stride, vectors)
    pairs = x.dtype != types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, integer, constant = _accessors(context, builder, signature, arguments)

        def vector_at(start: Any, position: int) -> Any:
            return builder.bitcast(builder.gep(start, [constant(position * VECTOR_FLOATS)]), _VECTOR.as_pointer())

        count = vectors.literal_value
        first, last = builder.gep(array(0), [integer(1)]), builder.sub(integer(3), constant(1))
        starts = []
        for row in range(TILE_ROWS):
            there = builder.icmp_signed("<", constant(row), last)
            starts.append(builder.gep(first, [builder.mul(builder.select(there, constant(row), last), integer(2))]))
        columns = builder.gep(array(4), [integer(5)])
        totals = [cgutils.alloca_once(builder, _VECTOR) for _ in range(TILE_ROWS * count)]
        for total in totals:
            builder.store(ir.Constant(_VECTOR, [0.0] * VECTOR_FLOATS), total)
        with cgutils.for_range(builder, integer(6)) as loop:
            here = builder.gep(columns, [builder.mul(loop.index, constant(count * VECTOR_FLOATS))])
            loaded = [builder.load(vector_at(here, position), align=4) for position in range(count)]
            for row, start in enumerate(starts):
                spread = _spread(builder, builder.load(builder.gep(start, [loop.index]), align=4))
                for position, some in enumerate(loaded):
                    total = totals[row * count + position]
                    builder.store(_products(builder, pairs, builder.load(total), spread, some), total)
        for row in range(TILE_ROWS):
            to = builder.gep(array(7), [builder.add(integer(8), builder.mul(constant(row), integer(9)))])
            for position in range(count):
                builder.store(builder.load(totals[row * count + position]), vector_at(to, position), align=4)
        return context.get_dummy_value()

    return signature, generate


def _spread(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, _WORD(0))
    return builder.shuffle_vector(one, one, ir.Constant(_WORDS, [0] * VECTOR_FLOATS))


def _products(builder: Any, pairs: bool, total: Any, a: Any, b: Any) -> Any:
    """`total` plus the products of `a` and `b`, element by element."""
    if pairs:
        kind, name = ir.FunctionType(_VECTOR, [_VECTOR, _PAIRS, _PAIRS]), "llvm.x86.avx512bf16.dpbf16ps.512"
        given = [total, builder.bitcast(a, _PAIRS), builder.bitcast(b, _PAIRS)]
    else:
        kind, name = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _VECTOR]), "llvm.fma.v16f32"
        given = [a, b, total]
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)


# numba removes the first parameter, which type checkers do not know.
multiply_tile: Any = intrinsic(prefer_literal=True)(_multiply_tile)


def _exponentials(
    typing_context: Any,
    scores: Any,
    scores_at: Any,
    scores_stride: Any,
    vectors: Any,
    shares: Any,
    shares_at: Any,
    shares_stride: Any,
    totals: Any,
) -> Any:
    """The numerators of softmax: for each row, `shares` = exp(score - largest score of the row), and `totals` = their sum.

    Row r of `scores`, float32, is the `vectors` * VECTOR_FLOATS elements (an even number of vectors) from `scores_at + r *
    scores_stride`; MASKED gives 0. `shares`, in the same layout, are float32, or uint32 with a pair of bfloat16 each.
    All TILE_ROWS rows are computed in parallel: one row alone would stall on the latency of its own results. Relative
    error 3e-7: 2^power = 2^whole · 2^part with |part| <= 1/2, the latter by its Taylor series to the sixth power.
    """
    signature = types.void(scores, scores_at, scores_stride, vectors, shares, shares_at, shares_stride, totals)
    pairs = shares.dtype != types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, integer, constant = _accessors(context, builder, signature, arguments)

        def rows_of(start: Any, at: Any, stride: Any) -> list[Any]:
            return [builder.gep(start, [builder.add(at, builder.mul(constant(row), stride))]) for row in range(TILE_ROWS)]

        def vector_at(start: Any, position: Any, kind: Any = _VECTOR) -> Any:
            return builder.bitcast(builder.gep(start, [position]), kind.as_pointer())

        from_rows, to_rows = rows_of(array(0), integer(1), integer(2)), rows_of(array(4), integer(5), integer(6))
        tops = [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [MASKED] * VECTOR_FLOATS)) for _ in from_rows]
        sums = [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * VECTOR_FLOATS)) for _ in from_rows]
        with cgutils.for_range(builder, integer(3)) as loop:
            position = builder.mul(loop.index, constant(VECTOR_FLOATS))
            for row, top in zip(from_rows, tops, strict=True):
                some = builder.load(vector_at(row, position), align=4)
                builder.store(_call(builder, "llvm.maxnum.v16f32", _VECTOR, builder.load(top), some), top)
        largest = [
            _spread(builder, _call(builder, "llvm.vector.reduce.fmax.v16f32", _FLOAT, builder.load(top))) for top in tops
        ]
        with cgutils.for_range(builder, builder.lshr(integer(3), constant(1))) as loop:
            first = builder.mul(loop.index, constant(2 * VECTOR_FLOATS))
            second = builder.add(first, constant(VECTOR_FLOATS))
            for row, top, total, to in zip(from_rows, largest, sums, to_rows, strict=True):
                one, other = (
                    _power_of_e(builder, builder.fsub(builder.load(vector_at(row, position), align=4), top))
                    for position in (first, second)
                )
                builder.store(builder.fadd(builder.load(total), builder.fadd(one, other)), total)
                if pairs:
                    rounded = _call(builder, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", _PAIRS, other, one)
                    position = builder.mul(loop.index, constant(VECTOR_FLOATS))
                    builder.store(rounded, vector_at(to, position, _PAIRS), align=4)
                else:
                    builder.store(one, vector_at(to, first), align=4)
                    builder.store(other, vector_at(to, second), align=4)
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
        add_up = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.fadd.v16f32")
        for row, total in enumerate(sums):
            added = builder.call(add_up, [_FLOAT(0.0), builder.load(total)], fastmath=("reassoc",))
            builder.store(added, builder.gep(array(7), [constant(row)]))
        return context.get_dummy_value()

    return signature, generate


exponentials: Any = intrinsic(_exponentials)


def _power_of_e(builder: Any, values: Any) -> Any:
    """exp of values that are at most 0; 0 where the result would be subnormal in float32."""

    def constant(value: float) -> Any:
        return ir.Constant(_VECTOR, [value] * VECTOR_FLOATS)

    powers = builder.fmul(values, constant(math.log2(math.e)))
    in_reach = builder.fcmp_ordered(">", powers, constant(-126.0))
    powers = builder.select(in_reach, powers, constant(-126.0))
    every, as_set = ir.Constant(ir.IntType(16), -1), _WORD(4)
    # Rounded to the nearest integer.
    whole = _call(builder, "llvm.x86.avx512.mask.rndscale.ps.512", _VECTOR, powers, _WORD(8), constant(0.0), every, as_set)
    part = builder.fsub(powers, whole)
    series = constant(math.log(2) ** 6 / 720)
    for n in range(5, -1, -1):
        product = builder.fmul(series, part, flags=_FUSED)
        series = builder.fadd(product, constant(math.log(2) ** n / math.factorial(n)), flags=_FUSED)
    scaled = _call(builder, "llvm.x86.avx512.mask.scalef.ps.512", _VECTOR, series, whole, constant(0.0), every, as_set)
    return builder.select(in_reach, scaled, constant(0.0))


def _call(builder: Any, name: str, result: Any, *given: Any) -> Any:
    kind = ir.FunctionType(result, [value.type for value in given])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)

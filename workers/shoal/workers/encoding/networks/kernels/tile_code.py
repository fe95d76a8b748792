"""One tile of a matrix product, written as instructions on whole vectors of AVX-512: a compiler that is given the loops
keeps the sums in memory. What to multiply, and what becomes of the sums, is the caller's.
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
"""Rows of a tile: with four vectors to a row, 24 of the 32 registers hold sums."""

LANES = 16
"""float32 numbers in a vector."""

HIDDEN = -1e30
"""A score that counts for nothing. Not -inf: fast mathematics lets the compiler take every number for a finite one."""

_FLOAT, _WORD = ir.FloatType(), ir.IntType(32)
_VECTOR, _WORDS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_WORD, LANES)


class _BFloat(ir.types.Type):
    """The type that llvmlite leaves out."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


# Products are added unrounded; nothing else is taken loosely.
_FUSED = ("contract",)
_PAIRS = ir.VectorType(_BFloat(), 2 * LANES)


@functools.cache
def tiles_work(bfloat16: bool) -> bool:
    """Whether this CPU has the instructions for tiles of float32, or those of pairs of bfloat16."""
    features = binding.get_host_cpu_features()
    return bool(features.get("avx512f", False) and (not bfloat16 or features.get("avx512bf16", False)))


def _readers(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Callable[[int], Any], ...]:
    """By its place among the arguments: an array's numbers as float32, and a whole number; and a whole number's constant."""

    def array(place: int) -> Any:
        data = context.make_array(signature.args[place])(context, builder, arguments[place]).data
        return builder.bitcast(data, _FLOAT.as_pointer())

    def whole(place: int) -> Any:
        return context.cast(builder, arguments[place], signature.args[place], types.intp)

    def number(value: int) -> Any:
        return ir.Constant(whole(1).type, value)

    return array, whole, number


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
    """TILE_ROWS rows of `sums` = rows of `x` times `weight`. Arrays have one dimension, places and strides count numbers.

    Row r of `x` begins at `x_at + r * x_stride` and has `steps` numbers; those after the first `rows` (at least 1) are read
    from the last of these, and their sums mean nothing. `weight` holds, from `weight_at`, for each step the numbers of
    `vectors` * LANES columns. Sums, float32, begin at `sums_at + r * sums_stride`.

    `x` and `weight` are both float32, or both uint32, each of which is a pair of bfloat16 whose products are added up.
    `vectors` is known when this is compiled.
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    signature = types.void(x, x_at, x_stride, rows, weight, weight_at, steps, sums, sums_at, sums_stride, vectors)
    pairs = x.dtype != types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, whole, number = _readers(context, builder, signature, arguments)

        def vector_at(start: Any, place: int) -> Any:
            return builder.bitcast(builder.gep(start, [number(place * LANES)]), _VECTOR.as_pointer())

        count = vectors.literal_value
        first, last = builder.gep(array(0), [whole(1)]), builder.sub(whole(3), number(1))
        starts = []
        for row in range(TILE_ROWS):
            there = builder.icmp_signed("<", number(row), last)
            starts.append(builder.gep(first, [builder.mul(builder.select(there, number(row), last), whole(2))]))
        columns = builder.gep(array(4), [whole(5)])
        totals = [cgutils.alloca_once(builder, _VECTOR) for _ in range(TILE_ROWS * count)]
        for total in totals:
            builder.store(ir.Constant(_VECTOR, [0.0] * LANES), total)
        with cgutils.for_range(builder, whole(6)) as loop:
            here = builder.gep(columns, [builder.mul(loop.index, number(count * LANES))])
            loaded = [builder.load(vector_at(here, place), align=4) for place in range(count)]
            for row, start in enumerate(starts):
                spread = _spread(builder, builder.load(builder.gep(start, [loop.index]), align=4))
                for place, some in enumerate(loaded):
                    total = totals[row * count + place]
                    builder.store(_products(builder, pairs, builder.load(total), spread, some), total)
        for row in range(TILE_ROWS):
            to = builder.gep(array(7), [builder.add(whole(8), builder.mul(number(row), whole(9)))])
            for place in range(count):
                builder.store(builder.load(totals[row * count + place]), vector_at(to, place), align=4)
        return context.get_dummy_value()

    return signature, generate


def _spread(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, _WORD(0))
    return builder.shuffle_vector(one, one, ir.Constant(_WORDS, [0] * LANES))


def _products(builder: Any, pairs: bool, total: Any, a: Any, b: Any) -> Any:
    """`total` plus the products of `a` and `b`, lane by lane."""
    if pairs:
        kind, name = ir.FunctionType(_VECTOR, [_VECTOR, _PAIRS, _PAIRS]), "llvm.x86.avx512bf16.dpbf16ps.512"
        given = [total, builder.bitcast(a, _PAIRS), builder.bitcast(b, _PAIRS)]
    else:
        kind, name = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _VECTOR]), "llvm.fma.v16f32"
        given = [a, b, total]
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)


# numba takes the first argument away, which type checkers do not see.
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
    """For each row, `shares` = e to the power of each score less the row's largest, and in `totals` their sum.

    Row r of `scores`, float32, are the `vectors` * LANES numbers (an even number of vectors) from `scores_at + r *
    scores_stride`; HIDDEN gives 0. Shares are float32, or words that each hold a pair of bfloat16, and lie in the same way.
    All TILE_ROWS rows are computed, side by side: one alone would wait for each of its own results. Good to 3e-7:
    2^power = 2^whole · 2^part with |part| <= 1/2, the latter by its Taylor series to the sixth power.
    """
    signature = types.void(scores, scores_at, scores_stride, vectors, shares, shares_at, shares_stride, totals)
    pairs = shares.dtype != types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, whole, number = _readers(context, builder, signature, arguments)

        def rows_of(start: Any, at: Any, stride: Any) -> list[Any]:
            return [builder.gep(start, [builder.add(at, builder.mul(number(row), stride))]) for row in range(TILE_ROWS)]

        def vector_at(start: Any, place: Any, kind: Any = _VECTOR) -> Any:
            return builder.bitcast(builder.gep(start, [place]), kind.as_pointer())

        from_rows, to_rows = rows_of(array(0), whole(1), whole(2)), rows_of(array(4), whole(5), whole(6))
        tops = [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [HIDDEN] * LANES)) for _ in from_rows]
        sums = [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * LANES)) for _ in from_rows]
        with cgutils.for_range(builder, whole(3)) as loop:
            place = builder.mul(loop.index, number(LANES))
            for row, top in zip(from_rows, tops, strict=True):
                some = builder.load(vector_at(row, place), align=4)
                builder.store(_call(builder, "llvm.maxnum.v16f32", _VECTOR, builder.load(top), some), top)
        largest = [
            _spread(builder, _call(builder, "llvm.vector.reduce.fmax.v16f32", _FLOAT, builder.load(top))) for top in tops
        ]
        with cgutils.for_range(builder, builder.lshr(whole(3), number(1))) as loop:
            first = builder.mul(loop.index, number(2 * LANES))
            second = builder.add(first, number(LANES))
            for row, top, total, to in zip(from_rows, largest, sums, to_rows, strict=True):
                one, other = (
                    _power_of_e(builder, builder.fsub(builder.load(vector_at(row, place), align=4), top))
                    for place in (first, second)
                )
                builder.store(builder.fadd(builder.load(total), builder.fadd(one, other)), total)
                if pairs:
                    rounded = _call(builder, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", _PAIRS, other, one)
                    place = builder.mul(loop.index, number(LANES))
                    builder.store(rounded, vector_at(to, place, _PAIRS), align=4)
                else:
                    builder.store(one, vector_at(to, first), align=4)
                    builder.store(other, vector_at(to, second), align=4)
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
        add_up = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.fadd.v16f32")
        for row, total in enumerate(sums):
            added = builder.call(add_up, [_FLOAT(0.0), builder.load(total)], fastmath=("reassoc",))
            builder.store(added, builder.gep(array(7), [number(row)]))
        return context.get_dummy_value()

    return signature, generate


exponentials: Any = intrinsic(_exponentials)


def _power_of_e(builder: Any, values: Any) -> Any:
    """e to the power of values of at most 0; 0 below the least power that float32 can hold."""

    def number(value: float) -> Any:
        return ir.Constant(_VECTOR, [value] * LANES)

    powers = builder.fmul(values, number(math.log2(math.e)))
    in_reach = builder.fcmp_ordered(">", powers, number(-126.0))
    powers = builder.select(in_reach, powers, number(-126.0))
    every, as_set = ir.Constant(ir.IntType(16), -1), _WORD(4)
    # To the nearest whole number.
    whole = _call(builder, "llvm.x86.avx512.mask.rndscale.ps.512", _VECTOR, powers, _WORD(8), number(0.0), every, as_set)
    part = builder.fsub(powers, whole)
    series = number(math.log(2) ** 6 / 720)
    for n in range(5, -1, -1):
        product = builder.fmul(series, part, flags=_FUSED)
        series = builder.fadd(product, number(math.log(2) ** n / math.factorial(n)), flags=_FUSED)
    scaled = _call(builder, "llvm.x86.avx512.mask.scalef.ps.512", _VECTOR, series, whole, number(0.0), every, as_set)
    return builder.select(in_reach, scaled, number(0.0))


def _call(builder: Any, name: str, result: Any, *given: Any) -> Any:
    kind = ir.FunctionType(result, [value.type for value in given])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)

"""A training step, written as instructions on whole vectors of the CPU. For loops, the compiler checks before each one
whether rows overlap, reduces each sum separately, and passes sums through memory, which took a third of the time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

MOST_SUMS = 16
"""Sums that fit into registers at once."""

LINE = 16
"""float32 values in a cache line."""

_FLOAT, _WORD = ir.FloatType(), ir.IntType(32)
_BYTE_POINTER = cgutils.voidptr_t
# Allows fused multiply-add, and no other fast-math transformation.
_FUSED = ("contract",)


@functools.cache
def vector_lanes() -> int:
    """float32 values in the vectors to use on this CPU."""
    return 16 if binding.get_host_cpu_features().get("avx512f", False) else 8


def _train_pairs(
    typing_context: Any,
    input: Any,
    one: Any,
    two: Any,
    output: Any,
    rows: Any,
    rates: Any,
    labels: Any,
    logits: Any,
    at: Any,
    width: Any,
    targets: Any,
    contexts: Any,
    lanes: Any,
) -> Any:
    """A step of gradient descent for rows `one` and `two` of `input` against `targets` rows of `output`, in place.

    x are the input rows, w the output rows `rows[at:]`, both (·, width) float32. Logits x·w, row `one`'s first, go to
    `logits` (MOST_SUMS,) float32; with g = rate · (label - sigmoid(logit)) the sum of g·w is added to each x, and
    the sum of g·x to each w, all computed from the rows before the step. `rates` and `labels` (float32) have MOST_SUMS
    elements for each set of targets, of which the first contexts · targets are used; those of this set start at index
    `at // targets * MOST_SUMS`. `width`, `targets`, `contexts` (1: `two` is ignored; 2: the rows must differ) and `lanes`
    are compile-time constants, with contexts · targets <= MOST_SUMS.
    """
    literals = (width, targets, contexts, lanes)
    if not all(isinstance(value, types.IntegerLiteral) for value in literals):
        return None
    sizes = [value.literal_value for value in literals]
    signature = types.void(input, one, two, output, rows, rates, labels, logits, at, *literals)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def array(argument: int) -> Any:
            return context.make_array(signature.args[argument])(context, builder, arguments[argument]).data

        def whole(argument: int) -> Any:
            return context.cast(builder, arguments[argument], signature.args[argument], types.intp)

        rows_from = builder.gep(array(4), [whole(8)])
        set_from = builder.mul(
            builder.udiv(whole(8), ir.Constant(whole(8).type, sizes[1])), ir.Constant(whole(8).type, MOST_SUMS)
        )
        step = _Step(builder, *sizes)
        step.write(
            [step.row(array(0), whole(argument)) for argument in (1, 2)[: sizes[2]]],
            [step.row(array(3), builder.load(builder.gep(rows_from, [_WORD(k)]))) for k in range(sizes[1])],
            builder.gep(array(5), [set_from]),
            builder.gep(array(6), [set_from]),
            array(7),
        )
        return context.get_dummy_value()

    return signature, generate


# numba removes the first parameter, which type checkers do not know.
train_pairs: Any = intrinsic(prefer_literal=True)(_train_pairs)


class _Step:
    """Emits the instructions of one training step."""

    def __init__(self, builder: Any, width: int, targets: int, contexts: int, lanes: int) -> None:
        self._builder = builder
        self._width, self._targets, self._contexts, self._lanes = width, targets, contexts, lanes
        self._vector = ir.VectorType(_FLOAT, lanes)

    def row(self, table: Any, row: Any) -> Any:
        start = self._builder.mul(row, ir.Constant(row.type, self._width))
        return self._builder.gep(table, [start])

    def write(self, inputs: Sequence[Any], outputs: Sequence[Any], rates: Any, labels: Any, logits: Any) -> None:
        sums = self._products(inputs, outputs)
        steps = []
        for first in range(0, len(sums), self._lanes):
            some = self._added_up(sums[first : first + self._lanes])
            self._store(some, logits, _WORD(first))
            error = self._builder.fsub(self._load(labels, _WORD(first)), self._sigmoid(some))
            steps.append(self._builder.fmul(self._load(rates, _WORD(first)), error))
        gradients = [self._spread(steps[k // self._lanes], k % self._lanes) for k in range(len(sums))]
        self._update(inputs, outputs, gradients)

    def _products(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
        """A vector of sums of products for each pair of rows."""
        builder = self._builder
        sums = [cgutils.alloca_once(builder, self._vector) for _ in range(len(inputs) * len(outputs))]
        for total in sums:
            builder.store(self._constant(0.0), total)

        def products(column: Any) -> None:
            xs = [self._load(row, column) for row in inputs]
            for k, row in enumerate(outputs):
                w = self._load(row, column)
                for c, x in enumerate(xs):
                    total = sums[c * len(outputs) + k]
                    builder.store(self._fused(x, w, builder.load(total)), total)

        self._along_rows(products)
        return [builder.load(total) for total in sums]

    def _update(self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]) -> None:
        def update(column: Any) -> None:
            xs = [self._load(row, column) for row in inputs]
            grown = list(xs)
            for k, row in enumerate(outputs):
                # Loaded one after the other, so that a row that occurs twice is updated twice.
                w = changed = self._load(row, column)
                for c, x in enumerate(xs):
                    gradient = gradients[c * len(outputs) + k]
                    grown[c] = self._fused(gradient, w, grown[c])
                    changed = self._fused(gradient, x, changed)
                self._store(changed, row, column)
            for row, x in zip(inputs, grown, strict=True):
                self._store(x, row, column)

        self._along_rows(update)

    def _along_rows(self, body: Callable[[Any], None]) -> None:
        with cgutils.for_range(self._builder, _WORD(self._width // self._lanes)) as loop:
            body(self._builder.mul(loop.index, _WORD(self._lanes)))

    def _added_up(self, sums: Sequence[Any]) -> Any:
        """A vector with the sums of the elements of up to `lanes` vectors, by adding halves of two vectors at a time."""
        lanes = self._lanes
        some = [*sums, *[self._constant(0.0)] * (lanes - len(sums))]
        half = lanes // 2
        while len(some) > 1:
            firsts = [lane for lane in range(2 * lanes) if lane // half % 2 == 0]
            lasts = [lane + half for lane in firsts]
            some = [
                self._builder.fadd(self._shuffled(a, b, firsts), self._shuffled(a, b, lasts))
                for a, b in zip(some[::2], some[1::2], strict=True)
            ]
            half //= 2
        return some[0]

    def _sigmoid(self, logits: Any) -> Any:
        """1 / (1 + e^-logit), accurate to 3e-7: e^-|logit| = 2^whole · 2^part with |part| <= 1/2, where the whole goes into
        the bits of the exponent, and 2^part is a Taylor series to the sixth power."""
        builder, number = self._builder, self._constant
        is_negative = builder.fcmp_ordered("<", logits, number(0.0))
        size = builder.select(is_negative, builder.fsub(number(0.0), logits), logits)
        size = builder.select(builder.fcmp_ordered("<", size, number(80.0)), size, number(80.0))
        power = builder.fmul(size, number(-math.log2(math.e)))
        words = ir.VectorType(_WORD, self._lanes)
        whole = builder.fptosi(builder.fsub(power, number(0.5)), words)
        part = builder.fsub(power, builder.sitofp(whole, self._vector))
        series = number(math.log(2) ** 6 / 720)
        for n in range(5, -1, -1):
            series = self._fused(series, part, number(math.log(2) ** n / math.factorial(n)))
        bits = builder.shl(
            builder.add(whole, ir.Constant(words, [127] * self._lanes)), ir.Constant(words, [23] * self._lanes)
        )
        small = builder.fmul(series, builder.bitcast(bits, self._vector))
        below = builder.fdiv(small, builder.fadd(number(1.0), small))
        return builder.select(is_negative, below, builder.fsub(number(1.0), below))

    def _fused(self, a: Any, b: Any, c: Any) -> Any:
        return self._builder.fadd(self._builder.fmul(a, b, flags=_FUSED), c, flags=_FUSED)

    def _spread(self, vector: Any, lane: int) -> Any:
        return self._shuffled(vector, vector, [lane] * self._lanes)

    def _shuffled(self, a: Any, b: Any, lanes: Sequence[int]) -> Any:
        return self._builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_WORD, self._lanes), list(lanes)))

    def _constant(self, value: float) -> Any:
        return ir.Constant(self._vector, [value] * self._lanes)

    def _load(self, start: Any, column: Any) -> Any:
        return self._builder.load(self._pointer(start, column), align=4)

    def _store(self, value: Any, start: Any, column: Any) -> None:
        self._builder.store(value, self._pointer(start, column), align=4)

    def _pointer(self, start: Any, column: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(start, [column]), self._vector.as_pointer())


def _prefetch(typing_context: Any, table: Any, row: Any, column: Any) -> Any:
    """Prefetches the cache line with `table[row, column]` for writing, without waiting.

    The rows of rare words are in main memory, and the next rows are known early.
    """
    signature = types.void(table, row, column)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table_type = signature.args[0]
        array = context.make_array(table_type)(context, builder, arguments[0])
        indices = [
            context.cast(builder, value, kind, types.intp)
            for value, kind in zip(arguments[1:], signature.args[1:], strict=True)
        ]
        pointer = cgutils.get_item_pointer(context, builder, table_type, array, indices, wraparound=False)
        function_type = ir.FunctionType(ir.VoidType(), [_BYTE_POINTER, _WORD, _WORD, _WORD])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        # For writing, high locality, data cache.
        builder.call(function, [builder.bitcast(pointer, _BYTE_POINTER), _WORD(1), _WORD(3), _WORD(1)])
        return context.get_dummy_value()

    return signature, generate


prefetch: Any = intrinsic(_prefetch)

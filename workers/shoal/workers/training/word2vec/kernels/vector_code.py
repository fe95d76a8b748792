"""One step of the training, written as instructions on whole vectors of the CPU: compilers that are given loops check
before each of them whether rows overlap, add up each sum alone, and pass the sums through memory, which took a third of
the time.
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
"""Sums that are kept in registers at once."""

LINE = 16
"""float32 numbers in a line of the cache."""

_FLOAT, _WORD = ir.FloatType(), ir.IntType(32)
_BYTE_POINTER = cgutils.voidptr_t
# Products are added unrounded where the CPU can; nothing else is taken loosely.
_FUSED = ("contract",)


@functools.cache
def vector_lanes() -> int:
    """float32 numbers in a vector of this CPU that is worth using."""
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
    `logits` (MOST_SUMS,) float32; with g = rate · (label - sigmoid(logit)) each x grows by the sum of g·w, and each w by
    that of g·x, all computed from the rows as they were. `rates` and `labels` (float32) hold MOST_SUMS places for each
    set of targets, of which the first contexts · targets are used; those of this set begin at `at // targets *
    MOST_SUMS`. `width`, `targets`, `contexts` (1, then `two` is not looked at, or 2, then the rows must differ) and
    `lanes` are known when this is compiled, with contexts · targets <= MOST_SUMS.
    """
    literals = (width, targets, contexts, lanes)
    if not all(isinstance(value, types.IntegerLiteral) for value in literals):
        return None
    sizes = [value.literal_value for value in literals]
    signature = types.void(input, one, two, output, rows, rates, labels, logits, at, *literals)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def array(place: int) -> Any:
            return context.make_array(signature.args[place])(context, builder, arguments[place]).data

        def whole(place: int) -> Any:
            return context.cast(builder, arguments[place], signature.args[place], types.intp)

        rows_from = builder.gep(array(4), [whole(8)])
        set_from = builder.mul(
            builder.udiv(whole(8), ir.Constant(whole(8).type, sizes[1])), ir.Constant(whole(8).type, MOST_SUMS)
        )
        step = _Step(builder, *sizes)
        step.write(
            [step.row(array(0), whole(place)) for place in (1, 2)[: sizes[2]]],
            [step.row(array(3), builder.load(builder.gep(rows_from, [_WORD(k)]))) for k in range(sizes[1])],
            builder.gep(array(5), [set_from]),
            builder.gep(array(6), [set_from]),
            array(7),
        )
        return context.get_dummy_value()

    return signature, generate


# numba takes the first argument away, which type checkers do not see.
train_pairs: Any = intrinsic(prefer_literal=True)(_train_pairs)


class _Step:
    """Writes the instructions of one step."""

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
        """For each pair of rows a vector of sums of products."""
        builder = self._builder
        sums = [cgutils.alloca_once(builder, self._vector) for _ in range(len(inputs) * len(outputs))]
        for total in sums:
            builder.store(self._constant(0.0), total)

        def products(place: Any) -> None:
            xs = [self._load(row, place) for row in inputs]
            for k, row in enumerate(outputs):
                w = self._load(row, place)
                for c, x in enumerate(xs):
                    total = sums[c * len(outputs) + k]
                    builder.store(self._fused(x, w, builder.load(total)), total)

        self._along_rows(products)
        return [builder.load(total) for total in sums]

    def _update(self, inputs: Sequence[Any], outputs: Sequence[Any], gradients: Sequence[Any]) -> None:
        def update(place: Any) -> None:
            xs = [self._load(row, place) for row in inputs]
            grown = list(xs)
            for k, row in enumerate(outputs):
                # Loaded one after the other: a row that is there twice grows twice.
                w = changed = self._load(row, place)
                for c, x in enumerate(xs):
                    gradient = gradients[c * len(outputs) + k]
                    grown[c] = self._fused(gradient, w, grown[c])
                    changed = self._fused(gradient, x, changed)
                self._store(changed, row, place)
            for row, x in zip(inputs, grown, strict=True):
                self._store(x, row, place)

        self._along_rows(update)

    def _along_rows(self, body: Callable[[Any], None]) -> None:
        with cgutils.for_range(self._builder, _WORD(self._width // self._lanes)) as loop:
            body(self._builder.mul(loop.index, _WORD(self._lanes)))

    def _added_up(self, sums: Sequence[Any]) -> Any:
        """A vector with the sum over each of up to `lanes` vectors: halves of two are added at once, again and again."""
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
        """1 / (1 + e^-logit), good to 3e-7: e^-|logit| = 2^whole · 2^part with |part| <= 1/2, the whole in the
        exponent's bits, the part by the Taylor series of 2^x to the sixth power."""
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

    def _load(self, start: Any, place: Any) -> Any:
        return self._builder.load(self._pointer(start, place), align=4)

    def _store(self, value: Any, start: Any, place: Any) -> None:
        self._builder.store(value, self._pointer(start, place), align=4)

    def _pointer(self, start: Any, place: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(start, [place]), self._vector.as_pointer())


def _prefetch(typing_context: Any, table: Any, row: Any, place: Any) -> Any:
    """Begins to load the line of the cache with `table[row, place]`, to be written to, and waits for nothing.

    Rows of rare words come from main memory, and which are next is known early.
    """
    signature = types.void(table, row, place)

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
        # To be written, of high locality, data.
        builder.call(function, [builder.bitcast(pointer, _BYTE_POINTER), _WORD(1), _WORD(3), _WORD(1)])
        return context.get_dummy_value()

    return signature, generate


prefetch: Any = intrinsic(_prefetch)

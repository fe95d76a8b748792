"""The check that a number type faster than float32 must pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shoal.workers.encoding.networks.precision import (
    LEAST_COSINE,
    Chosen,
    Precision,
    choose,
    cpu_flags,
    faster_precisions,
    least_cosine,
)

REFERENCE = np.eye(4, dtype=np.float32)


def turned(cosine: float) -> np.ndarray:
    """The reference vectors, the last turned away so far."""
    vectors = REFERENCE.copy()
    vectors[3] = [np.sqrt(1 - cosine**2), 0, 0, cosine]
    return vectors


def chosen(cosines: dict[Precision, float], wanted: list[Precision]) -> tuple[Chosen[Precision], list[Precision]]:
    built: list[Precision] = []

    def build(precision: Precision) -> Precision:
        built.append(precision)
        return precision

    return choose(wanted, build, lambda precision: turned(cosines[precision]), REFERENCE), built


def test_the_first_type_that_is_close_enough_is_used_and_no_other_is_built() -> None:
    wanted = [Precision.BFLOAT16, Precision.FLOAT16]
    result, built = chosen({Precision.BFLOAT16: 0.9995, Precision.FLOAT16: 1.0}, wanted)
    assert (result.built, result.precision) == (Precision.BFLOAT16, Precision.BFLOAT16)
    assert "0.9995" in result.note
    assert built == [Precision.BFLOAT16]


def test_a_refused_type_is_reported_and_the_next_one_is_tried() -> None:
    wanted = [Precision.BFLOAT16, Precision.FLOAT16]
    result, _ = chosen({Precision.BFLOAT16: 0.9989, Precision.FLOAT16: 0.99995}, wanted)
    assert result.precision is Precision.FLOAT16
    assert "bfloat16 refused" in result.note and "0.9989" in result.note


@pytest.mark.parametrize("cosine", [0.998, 0.0, -1.0])
def test_float32_is_the_fallback_and_says_so(cosine: float) -> None:
    result, built = chosen({Precision.BFLOAT16: cosine}, [Precision.BFLOAT16])
    assert result.precision is Precision.FLOAT32
    assert built == [Precision.BFLOAT16, Precision.FLOAT32]
    assert "bfloat16 refused" in result.note


def test_the_bound_is_the_documented_one() -> None:
    assert LEAST_COSINE == 0.999
    assert chosen({Precision.BFLOAT16: 0.99901}, [Precision.BFLOAT16])[0].precision is Precision.BFLOAT16
    assert chosen({Precision.BFLOAT16: 0.99899}, [Precision.BFLOAT16])[0].precision is Precision.FLOAT32


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, 0.0])
def test_vectors_without_a_direction_never_pass(spoilt: float) -> None:
    vectors = REFERENCE.copy()
    vectors[2] = spoilt
    assert least_cosine(vectors, REFERENCE) == -1.0


def test_types_follow_the_hardware() -> None:
    none: frozenset[str] = frozenset()
    assert faster_precisions("cpu", (0, 0), frozenset({"avx2", "avx512_bf16"})) == [Precision.BFLOAT16]
    assert faster_precisions("cpu", (0, 0), frozenset({"avx2", "avx512f"})) == []
    assert faster_precisions("cuda", (9, 0), none) == [Precision.BFLOAT16, Precision.FLOAT16]
    assert faster_precisions("cuda", (7, 5), none) == [Precision.FLOAT16]
    assert faster_precisions("mps", (0, 0), none) == []


def test_flags_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(
        "processor\t: 0\nmodel name\t: a CPU\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n"
    )
    assert cpu_flags(path) == {"fpu", "avx2", "avx512_bf16"}
    path.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert cpu_flags(path) == {"fp", "asimd", "bf16"}
    assert cpu_flags(tmp_path / "absent") == frozenset()

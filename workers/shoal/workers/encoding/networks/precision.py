"""The number type in which a network computes: what the hardware offers, and the gate that a faster type must pass.

Pure except for reading the CPU's flags.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from shoal.workers.encoding.model import Vectors

LEAST_COSINE = 0.999

T = TypeVar("T")


class Precision(Enum):
    """Number types of weights and activations. Sums, norms and pooling are always float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"
    """Weights and activations of linear layers. Its vectors differ, so it is part of the fingerprint."""


# Texts of several kinds and lengths, for comparing a faster type with float32.
PROBE_TEXTS = (
    "Moon",
    "how do I pack a folder into a compressed file?",
    "The tide is locked to the moon.",
    "Error 0x80070057: the parameter is incorrect (os error 22)",
    "Der Mond wendet der Erde immer dieselbe Seite zu.",
    "月は常に同じ面を地球に向けている。",
    "SELECT id, text FROM documents WHERE version > 7 ORDER BY id LIMIT 10;",
    "A shoal of fish turns at once, as if it were a single body; no one fish gives the order, and yet none collides.",
    "In 1687, Newton explained the tides by the attraction of the Moon and, less, of the Sun; 230 years passed before one "
    "could predict them well for an arbitrary harbour, with a machine of brass wheels that summed up to 40 terms.",
    "Vectors computed by two models cannot be compared. " * 12,
)


@dataclass(frozen=True, slots=True)
class Chosen(Generic[T]):
    """The chosen precision, what was built in it, and why it was chosen, for people to read."""

    built: T
    precision: Precision
    note: str


def faster_precisions(device: str, capability: tuple[int, int], cpu_flags: frozenset[str]) -> list[Precision]:
    """The types that are faster than float32 on this hardware, the best first.

    `device` is torch's device type, `capability` the compute capability of a CUDA device. On a CPU without bfloat16
    instructions, bfloat16 is many times slower than float32.
    """
    if device == "cuda":
        return [Precision.BFLOAT16, Precision.FLOAT16] if capability >= (8, 0) else [Precision.FLOAT16]
    if device == "cpu" and cpu_flags & {"avx512_bf16", "amx_bf16", "bf16"}:
        return [Precision.BFLOAT16]
    return []


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The CPU's instruction sets as Linux lists them; empty on other systems."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def choose(
    wanted: Sequence[Precision], build: Callable[[Precision], T], embed: Callable[[T], Vectors], reference: Vectors
) -> Chosen[T]:
    """The first of `wanted` whose vectors for the probe texts are close enough to those of float32, else float32.

    `embed` returns the vectors (texts, dimension) float32 of PROBE_TEXTS, `reference` has those of float32 precision.
    """
    refused: list[str] = []
    for precision in wanted:
        built = build(precision)
        cosine = least_cosine(embed(built), reference)
        if cosine >= LEAST_COSINE:
            return Chosen(built, precision, "; ".join([f"cosine to float32 at least {shown(cosine)}", *refused]))
        refused.append(f"{precision.value} refused, cosine to float32 only {shown(cosine)}")
    return Chosen(build(Precision.FLOAT32), Precision.FLOAT32, "; ".join(refused))


def least_cosine(vectors: Vectors, reference: Vectors) -> float:
    """The smallest cosine between rows of the same index; -1 if any value is not finite or any row is zero."""
    one, other = vectors.astype(np.float64), reference.astype(np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    if not np.isfinite(one).all() or not (norms > 0).all():
        return -1.0
    return float((np.einsum("ij,ij->i", one, other) / norms).min())


def shown(cosine: float) -> float:
    """The cosine truncated to 5 digits, not rounded, so that a refused 0.9989999 is not shown as 0.999."""
    return math.floor(cosine * 1e5 + 1e-6) / 1e5

from __future__ import annotations

import pytest

from shoal.cluster.jobs.encode.output import PartManifest
from shoal.cluster.jobs.encode.progress import Progress


def a_part(index: int, rows: int = 10, tokens: int = 100, input_bytes: int = 1000, bad_rows: int = 0) -> PartManifest:
    return PartManifest(0, index, False, rows, bad_rows, tokens, 1, input_bytes, None, None)


def test_rates_are_of_this_run_and_counts_of_all():
    progress = Progress(10_000, 100.0)
    progress.found(a_part(0))
    before = progress.stats()
    assert (before.rows, before.share, before.texts_per_s, before.eta_s) == (10, 0.1, 0.0, None)
    progress.finished(a_part(1, bad_rows=2), 105.0)
    progress.finished(a_part(2), 110.0)
    stats = progress.stats()
    assert (stats.parts, stats.rows, stats.bad_rows, stats.tokens, stats.truncated) == (3, 30, 2, 300, 3)
    assert (stats.share, stats.texts_per_s, stats.tokens_per_s) == (0.3, 2.0, 20.0)
    assert stats.eta_s == pytest.approx(7000 / 200)


def test_the_pace_is_the_last_minutes():
    progress = Progress(1_000_000, 0.0)
    for number in range(10):
        progress.finished(a_part(number), number + 1.0)
    for number in range(20):
        progress.finished(a_part(number), 10.0 + (number + 1) * 10.0)
    assert progress.stats().texts_per_s == pytest.approx(1.0)


def test_an_empty_input_is_done():
    assert Progress(0, 0.0).stats().share == 1.0

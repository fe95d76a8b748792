"""The load of a replica, from its reports."""

from __future__ import annotations

import pytest

from shoal.cluster.decisions.processes.load import WINDOW_S, LoadMeter, ReplicaLoad
from shoal.internal.v1.encoder_pb2 import EncoderLoad


def test_a_first_report_has_no_rates() -> None:
    load = LoadMeter().take(EncoderLoad(waiting_texts=3, waiting_tokens=40, oldest_ms=1500, texts=10, tokens=200), 5.0)
    assert (load.waiting_texts, load.waiting_tokens, load.oldest_s, load.tokens_per_text) == (3, 40, 1.5, 20.0)
    assert (load.texts_per_s, load.tokens_per_s, load.busy, load.speed) == (0, 0, 0, 0)


def test_rates_are_those_of_the_last_seconds() -> None:
    meter, load = LoadMeter(), ReplicaLoad()
    for second in range(61):
        worked = max(0, second - 40)
        report = EncoderLoad(texts=10 * worked, tokens=500 * worked, busy_ms=2 * 250 * worked, inference_threads=2)
        load = meter.take(report, float(second))
    assert (load.texts_per_s, load.tokens_per_s) == pytest.approx((10.0, 500.0))
    assert load.busy == pytest.approx(0.25)
    # It does 500 tokens in a quarter of a second.
    assert load.speed == pytest.approx(2000.0)
    idle = meter.take(EncoderLoad(texts=200, tokens=10_000, busy_ms=10_000, inference_threads=2), 60.0 + 2 * WINDOW_S)
    idle = meter.take(EncoderLoad(texts=200, tokens=10_000, busy_ms=10_000, inference_threads=2), 61.0 + 2 * WINDOW_S)
    assert (idle.texts_per_s, idle.busy, idle.speed) == (0.0, 0.0, pytest.approx(2000.0))


def test_a_new_process_counts_from_nothing() -> None:
    meter = LoadMeter()
    meter.take(EncoderLoad(texts=0, tokens=0, busy_ms=0, inference_threads=1), 0.0)
    meter.take(EncoderLoad(texts=100, tokens=1000, busy_ms=1000, inference_threads=1), 1.0)
    after = meter.take(EncoderLoad(texts=1, tokens=10, busy_ms=10, inference_threads=1), 2.0)
    assert (after.texts_per_s, after.tokens_per_s, after.busy) == (0, 0, 0)
    assert after.speed == pytest.approx(1000.0)


def test_the_speed_follows_what_is_new() -> None:
    meter, load = LoadMeter(), ReplicaLoad()
    tokens = busy = 0
    for second in range(100):
        tokens += 1000 if second < 50 else 100
        busy += 1000
        load = meter.take(EncoderLoad(texts=second, tokens=tokens, busy_ms=busy, inference_threads=1), float(second))
    assert 100 <= load.speed < 110


def test_nothing_is_known_of_a_replica_that_did_not_report() -> None:
    assert ReplicaLoad() == ReplicaLoad(0, 0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_an_idle_second_counts_too() -> None:
    meter = LoadMeter()
    meter.take(EncoderLoad(inference_threads=1), 0.0)
    worked = EncoderLoad(texts=10, tokens=100, busy_ms=500, inference_threads=1)
    meter.take(worked, 1.0)
    after = meter.take(worked, 2.0)
    assert (after.texts_per_s, after.tokens_per_s, after.busy) == (5.0, 50.0, 0.25)


@pytest.mark.parametrize("counts", [(50, 2000, 2000), (200, 500, 2000), (200, 2000, 500)])
def test_a_count_that_falls_means_a_new_process(counts: tuple[int, int, int]) -> None:
    meter = LoadMeter()
    meter.take(EncoderLoad(texts=100, tokens=1000, busy_ms=1000, inference_threads=1), 0.0)
    texts, tokens, busy_ms = counts
    after = meter.take(EncoderLoad(texts=texts, tokens=tokens, busy_ms=busy_ms, inference_threads=1), 1.0)
    assert (after.texts_per_s, after.tokens_per_s, after.busy, after.speed) == (0, 0, 0, 0)


def test_work_from_before_the_window_is_left_out() -> None:
    meter = LoadMeter()
    meter.take(EncoderLoad(inference_threads=1), 0.0)
    worked = EncoderLoad(texts=100, tokens=1000, busy_ms=1000, inference_threads=1)
    meter.take(worked, 5.0)
    after = meter.take(worked, 5.0 + WINDOW_S)
    assert (after.texts_per_s, after.tokens_per_s, after.busy) == (0, 0, 0)


def test_half_a_second_has_rates() -> None:
    meter = LoadMeter()
    meter.take(EncoderLoad(inference_threads=1), 0.0)
    after = meter.take(EncoderLoad(texts=10, tokens=100, busy_ms=250, inference_threads=1), 0.5)
    assert (after.texts_per_s, after.tokens_per_s, after.busy) == (20.0, 200.0, 0.5)


def test_the_speed_rests_on_reports_of_tokens_and_of_time() -> None:
    meter = LoadMeter()
    meter.take(EncoderLoad(inference_threads=1), 0.0)
    assert meter.take(EncoderLoad(tokens=700, inference_threads=1), 1.0).speed == 0
    assert meter.take(EncoderLoad(tokens=700, busy_ms=100, inference_threads=1), 2.0).speed == 0
    assert meter.take(EncoderLoad(tokens=800, busy_ms=1100, inference_threads=1), 3.0).speed == 100

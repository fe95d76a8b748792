"""The load and speed of an encoder replica, computed from its successive reports. Pure: times are passed in."""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, Protocol

WINDOW_S = 10.0
"""Rates are averages over this many seconds."""
_KEPT_SHARE = 0.9
"""The weight that past work keeps in the measured speed with each report of new work."""


class LoadReport(Protocol):
    """What a replica reports; its counts start at 0 with its process."""

    @property
    def waiting_texts(self) -> int: ...
    @property
    def waiting_tokens(self) -> int: ...
    @property
    def oldest_ms(self) -> int: ...
    @property
    def texts(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def busy_ms(self) -> int: ...
    @property
    def inference_threads(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """The load of one replica."""

    waiting_texts: int = 0
    waiting_tokens: int = 0
    oldest_s: float = 0.0
    """How long the oldest text has waited."""
    texts: int = 0
    """Finished since its process started."""
    texts_per_s: float = 0.0
    tokens_per_s: float = 0.0
    busy: float = 0.0
    """Share of the last seconds in which it computed, 0 to 1."""
    speed: float = 0.0
    """Tokens per second while it computes with all inference threads; 0 until it has computed."""
    tokens_per_text: float = 0.0
    """Mean over all finished texts; 0 until there is one."""


class _Moment(NamedTuple):
    at_s: float
    texts: int
    tokens: int
    busy_s: float


class LoadMeter:
    """Measures one replica, across restarts of its process."""

    def __init__(self) -> None:
        self._moments: deque[_Moment] = deque()
        self._tokens = 0.0
        self._busy_s = 0.0

    def take(self, report: LoadReport, at_s: float) -> ReplicaLoad:
        """The load after one more report; `at_s` never falls."""
        now = _Moment(at_s, report.texts, report.tokens, report.busy_ms / 1000 / max(1, report.inference_threads))
        if self._moments:
            last = self._moments[-1]
            if now.texts < last.texts or now.tokens < last.tokens or now.busy_s < last.busy_s:
                # A new process. The measured speed holds for it too.
                self._moments.clear()
            else:
                self._learn(now.tokens - last.tokens, now.busy_s - last.busy_s)
        self._moments.append(now)
        while len(self._moments) > 2 and self._moments[1].at_s <= at_s - WINDOW_S:
            self._moments.popleft()
        first = self._moments[0]
        spent_s = now.at_s - first.at_s
        return ReplicaLoad(
            waiting_texts=report.waiting_texts,
            waiting_tokens=report.waiting_tokens,
            oldest_s=report.oldest_ms / 1000,
            texts=report.texts,
            texts_per_s=(now.texts - first.texts) / spent_s if spent_s > 0 else 0.0,
            tokens_per_s=(now.tokens - first.tokens) / spent_s if spent_s > 0 else 0.0,
            # A batch counts when it ends, so a short interval may report more computing than time.
            busy=min(1.0, (now.busy_s - first.busy_s) / spent_s) if spent_s > 0 else 0.0,
            speed=self._tokens / self._busy_s if self._busy_s > 0 else 0.0,
            tokens_per_text=report.tokens / report.texts if report.texts else 0.0,
        )

    def _learn(self, tokens: int, busy_s: float) -> None:
        if tokens and busy_s > 0:
            self._tokens = self._tokens * _KEPT_SHARE + tokens
            self._busy_s = self._busy_s * _KEPT_SHARE + busy_s

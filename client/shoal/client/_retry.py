"""When a failed call is tried again, decided without a clock; the clients do the waiting."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential pauses with full jitter, for calls that found the server unavailable."""

    first_pause_s: float = 0.05
    """Upper bound of the first pause; each later one doubles it."""
    longest_pause_s: float = 2.0
    patience_s: float = math.inf
    """No new attempt starts this long after the first, however late the deadline is. 0 never retries."""

    def pause_s(
        self, attempt: int, elapsed_s: float, remaining_s: float, rng: Random, at_least_s: float = 0.0
    ) -> float | None:
        """How long to wait after failed attempt number `attempt` (from 1), or None to give up.

        `at_least_s` is what the server asked for. The pause always ends before the deadline that is `remaining_s` away.
        """
        # 2**30 pauses are far above any bound; the cap keeps the power from overflowing.
        bound_s = min(self.longest_pause_s, self.first_pause_s * 2 ** min(attempt - 1, 30))
        pause_s = max(at_least_s, rng.uniform(0.0, bound_s))
        if pause_s >= remaining_s or elapsed_s + pause_s >= self.patience_s:
            return None
        return pause_s

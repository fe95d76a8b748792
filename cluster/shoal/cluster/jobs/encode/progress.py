"""How much of a job is finished, its speed and the time left. Pure: times are passed in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from shoal.cluster.jobs.encode.output import PartManifest

WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class JobStats:
    """A job at one moment. Counts cover all its runs, rates the last minute of this run."""

    parts: int
    rows: int
    bad_rows: int
    tokens: int
    truncated: int
    share: float
    """Share of the input that is finished, 0 to 1."""
    texts_per_s: float
    tokens_per_s: float
    eta_s: float | None
    """Estimated seconds left; None before there is a rate."""


class Progress:
    """Counts finished parts. Times are seconds on the caller's clock, never before those given earlier."""

    def __init__(self, input_bytes: int, started_at_s: float) -> None:
        self._input_bytes = input_bytes
        self._parts = self._rows = self._bad_rows = self._tokens = self._truncated = self._done_bytes = 0
        # Of this run: the time, and texts, tokens and bytes finished by then.
        self._marks: deque[tuple[float, int, int, int]] = deque([(started_at_s, 0, 0, 0)])
        self._texts_here = self._tokens_here = self._bytes_here = 0

    def found(self, manifest: PartManifest) -> None:
        """Counts a part that an earlier run finished."""
        self._parts += 1
        self._rows += manifest.rows
        self._bad_rows += manifest.bad_rows
        self._tokens += manifest.tokens
        self._truncated += manifest.truncated
        self._done_bytes += manifest.input_bytes

    def finished(self, manifest: PartManifest, now_s: float) -> None:
        """Counts a part that this run finished."""
        self.found(manifest)
        self._texts_here += manifest.rows
        self._tokens_here += manifest.tokens
        self._bytes_here += manifest.input_bytes
        self._marks.append((now_s, self._texts_here, self._tokens_here, self._bytes_here))
        while len(self._marks) > 2 and now_s - self._marks[1][0] >= WINDOW_S:
            self._marks.popleft()

    def stats(self) -> JobStats:
        """The job now."""
        (begin_s, *before), (end_s, *after) = self._marks[0], self._marks[-1]
        elapsed_s = end_s - begin_s
        texts, tokens, read = (
            (new - old) / elapsed_s if elapsed_s > 0 else 0.0 for old, new in zip(before, after, strict=True)
        )
        left = max(0, self._input_bytes - self._done_bytes)
        return JobStats(
            parts=self._parts,
            rows=self._rows,
            bad_rows=self._bad_rows,
            tokens=self._tokens,
            truncated=self._truncated,
            share=min(1.0, self._done_bytes / self._input_bytes) if self._input_bytes else 1.0,
            texts_per_s=texts,
            tokens_per_s=tokens,
            eta_s=left / read if read > 0 else None,
        )

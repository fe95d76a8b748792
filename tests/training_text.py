"""A small corpus of real text for trainings: what this project says of itself."""

from __future__ import annotations

from pathlib import Path

from shoal.workers.training.corpus import CorpusSettings
from shoal.workers.training.settings import Word2VecSettings

ROOT = Path(__file__).resolve().parents[1]
READING = CorpusSettings(tokenizer="unicode", lowercase=True, unit_bytes=2000)
"""Small parts, so that there are many spans to be dealt out."""
ROUND_WORDS = 1000


def write_text(path: Path) -> Path:
    """Some thousand words in sentences."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    path.write_text("\n".join(page.read_text(encoding="utf-8") for page in pages), encoding="utf-8")
    return path


def small_settings(**changes: object) -> Word2VecSettings:
    """A training of a second."""
    return Word2VecSettings(**{"dim": 16, "min_count": 2, "epochs": 3, "sample": 0.0, **changes})  # type: ignore[arg-type]

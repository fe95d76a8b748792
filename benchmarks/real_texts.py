"""Real English for benchmarks: sentences, paragraphs and abstracts of the shared data, or else the sample documents."""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class TextSet:
    """Texts of one kind."""

    name: str
    source: str
    texts: list[str]


def text_sets(count: int) -> list[TextSet]:
    """`count` short texts, and of the longer kinds so many that each set has roughly as many tokens."""
    return [short_texts(count), medium_texts(max(8, count // 5)), long_texts(max(8, count // 12))]


def short_texts(count: int) -> TextSet:
    """Sentences, about 15 tokens each."""
    path = SHARED / "sts" / "stsb-train.tsv"
    if not path.exists():
        return TextSet("short", "tldr-pages, descriptions", _samples(count, 60))
    header, *rows = (line.rstrip("\n").split("\t") for line in path.open(encoding="utf-8"))
    columns = [header.index("sentence1"), header.index("sentence2")]
    texts = list(dict.fromkeys(row[column] for row in rows for column in columns))
    return TextSet("short", "STS-B train, sentences", _filled(texts, count))


def medium_texts(count: int) -> TextSet:
    """Paragraphs, about 110 tokens each."""
    path = SHARED / "corpus" / "wiki-passages-34k.jsonl.xz"
    if not path.exists():
        return TextSet("medium", "tldr-pages", _samples(count, 500))
    with lzma.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(count), strict=False)]
    return TextSet("medium", "Wikipedia paragraphs", _filled(texts, count))


def long_texts(count: int) -> TextSet:
    """Titles and abstracts, most of them cut at the model's 256 tokens."""
    path = SHARED / "retrieval" / "scifact" / "corpus.jsonl.xz"
    if not path.exists():
        return TextSet("long", "tldr-pages, several in one", _samples(count, 1500))
    with lzma.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(count), strict=False)]
    return TextSet("long", "SciFact abstracts", _filled([f"{row['title']} {row['text']}" for row in rows], count))


def _samples(count: int, characters: int) -> list[str]:
    from shoal.client.samples import documents

    joined = "\n".join(one.text for one in documents())
    parts = [joined[start : start + characters] for start in range(0, len(joined), characters)]
    return _filled(parts, count)


def _filled(texts: list[str], count: int) -> list[str]:
    """Exactly `count` of them; those that come again are made different, for equal texts may be encoded once."""
    return [texts[n % len(texts)] + (f" {n}" if n >= len(texts) else "") for n in range(count)]

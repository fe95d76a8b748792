"""Sample documents: pages of the tldr-pages project; see tldr-LICENSE.txt for their licence."""

from __future__ import annotations

import json
import lzma
from importlib import resources

from shoal.client.types import Document


def documents() -> list[Document]:
    """1,200 short descriptions of command-line programs, ordered by id, such as "common/tar"."""
    packed = resources.files(__name__).joinpath("tldr.jsonl.xz").read_bytes()
    rows = (json.loads(line) for line in lzma.decompress(packed).decode().splitlines())
    return [Document(id=row["id"], text=row["text"]) for row in rows]

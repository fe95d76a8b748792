"""Documents for the tests of the clients."""

from __future__ import annotations

from shoal.client import Document


def documents(count: int, text: str = "text") -> list[Document]:
    return [Document(id=f"{number:04}", text=f"{text} {number}") for number in range(count)]

"""How many tokens of a text a model reads: what its files state, as sentence-transformers combines it."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.workers.encoding.model import Role

UNSTATED_LIMIT = 8192
"""For models whose files state no limit at all. sentence-transformers reads such texts whole."""


@dataclass(frozen=True, slots=True)
class StatedLimits:
    """The limits in a model's sentence-transformers files, in tokens with special tokens; None where they state none."""

    max_tokens: int | None = None
    """Of any text."""
    query_tokens: int | None = None
    """Of a query, instead of `max_tokens`."""
    document_tokens: int | None = None
    """Of a document, instead of `max_tokens`."""


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """The limits that apply, in tokens with special tokens."""

    query: int
    document: int

    @property
    def largest(self) -> int:
        """No text has more tokens."""
        return max(self.query, self.document)

    def of(self, role: Role) -> int:
        """The limit of a text of `role`."""
        return self.query if role is Role.QUERY else self.document


def token_limits(
    stated: StatedLimits, tokenizer_limit: int | None, stated_positions: int | None, position_limit: int | None
) -> TokenLimits:
    """The limits of a model.

    A limit in the sentence-transformers files counts alone. Without one it is the smaller of the tokenizer's limit and the
    positions that the network's config states (`stated_positions`). None goes beyond `position_limit`, the rows of a
    position table: there sentence-transformers fails.
    """
    usual = stated.max_tokens
    if usual is None:
        usual = min((limit for limit in (tokenizer_limit, stated_positions) if limit is not None), default=UNSTATED_LIMIT)
    query, document = stated.query_tokens or usual, stated.document_tokens or usual
    if position_limit is not None:
        query, document = min(query, position_limit), min(document, position_limit)
    return TokenLimits(query, document)

"""Staged rows are kept by size, the newest ones."""

from __future__ import annotations

import numpy as np

from shoal.workers.indexing.rows import Rows
from shoal.workers.indexing.shard.staged_rows import StagedRows


def rows(document_id: str) -> Rows:
    return Rows([document_id], np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.bool_), np.ones((1, 2), dtype=np.float32))


A, B, C = rows("a"), rows("b"), rows("c")


def test_rows_are_kept_up_to_the_limit_and_the_oldest_go_first() -> None:
    staged = StagedRows(A.size + B.size)
    staged.keep("a", A)
    staged.keep("b", B)
    assert (staged.find("a"), staged.find("b")) == (A, B)
    staged.keep("c", C)
    assert (staged.find("a"), staged.find("b"), staged.find("c")) == (None, B, C)


def test_rows_above_the_limit_are_not_kept() -> None:
    staged = StagedRows(A.size - 1)
    staged.keep("a", A)
    assert staged.find("a") is None


def test_forgotten_rows_make_room() -> None:
    staged = StagedRows(A.size + B.size)
    staged.keep("a", A)
    staged.keep("b", B)
    staged.forget("b")
    staged.forget("unknown")
    staged.keep("c", C)
    assert (staged.find("a"), staged.find("b"), staged.find("c")) == (A, None, C)


def test_the_same_file_counts_once() -> None:
    staged = StagedRows(A.size + B.size)
    staged.keep("a", A)
    staged.keep("a", A)
    staged.keep("b", B)
    assert (staged.find("a"), staged.find("b")) == (A, B)

"""The path of one search: cut, encode, query the shards, merge, validate against the ledger, report coverage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from shoal.cluster.decisions.memory.byte_budget import MIB
from shoal.cluster.decisions.merging import Candidate, ShardAnswer, settled
from shoal.cluster.errors import ClusterError, CoverageTooLow, DeadlineExceeded, InvalidRequest, Overloaded, Unavailable
from shoal.cluster.gateway.backends.encoders import Encoders
from shoal.cluster.gateway.backends.index_shards import IndexShards
from shoal.cluster.gateway.backends.ledger_reads import LedgerReads
from shoal.cluster.gateway.backends.like import QueryVector, vector_like
from shoal.cluster.gateway.paths.coverage import Freshness, coverage_of, shortfall
from shoal.cluster.gateway.paths.documents_validation import WriteRules, check_vector
from shoal.cluster.gateway.paths.room import Room
from shoal.cluster.gateway.paths.validation import (
    check_collection_name,
    check_id,
    check_k,
    check_min_coverage,
    check_query_text,
    check_reply_part,
    parse_token,
)
from shoal.cluster.gateway.paths.visibility import WriteVisibility
from shoal.cluster.ledger.errors import LedgerError
from shoal.cluster.ledger.records import Cut, LiveDocument, ShardCut
from shoal.cluster.limits import RequestLimits
from shoal.cluster.rpc.deadlines import Deadline
from shoal.cluster.rpc.routing import ModelId, ShardId
from shoal.v1 import search_pb2
from shoal.workers.encoding import AS_QUERY

PARTIAL_PATIENCE_S = 1.0
"""How long a search that accepts partial results waits for a shard that no worker serves."""
_HYDRATE_LEAST = 16
_HYDRATE_BYTES = 4 * MIB
"""Documents that are read at once; above it they are read in parts, as a reply may turn out to be too large."""
_FIELD_BYTES = 64
"""Numbers, tags and lengths of a hit."""
# Errors that count a shard as not reached, in a search that accepts partial results.
_NOT_REACHED = (Unavailable, DeadlineExceeded, Overloaded)


@dataclass(slots=True)
class _Run:
    """One search in progress."""

    request: search_pb2.SearchRequest
    cut: Cut
    query: QueryVector
    deadline: Deadline
    patience: Deadline | None
    """Set when the request accepts partial results."""
    room: Room
    answers: dict[int, ShardAnswer] = field(default_factory=dict)
    lost: dict[int, ClusterError] = field(default_factory=dict)

    @property
    def outdated(self) -> bool:
        """True if a shard has lost files since the cut was read."""
        known = {shard.number: shard.damage_count for shard in self.cut.shards}
        return any(answer.damage_count > known[number] for number, answer in self.answers.items())


@dataclass(slots=True)
class _Validated:
    reply: search_pb2.SearchResponse = field(default_factory=search_pb2.SearchResponse)
    """The hits."""
    bytes: int = 0
    """Size of the hits."""
    stale: int = 0
    """Candidates whose content has changed since."""
    like_is_stale: bool = False
    """The document whose vector is the query has changed since."""
    hidden: int = 0
    """Candidates whose document is deleted."""


class SearchPath:
    """Answers searches. `now_ms` is the wall clock of the ledger's timestamps."""

    def __init__(
        self,
        reads: LedgerReads,
        visibility: WriteVisibility,
        index_shards: IndexShards,
        encoders: Encoders,
        limits: RequestLimits,
        now_ms: Callable[[], int],
    ) -> None:
        self._reads = reads
        self._visibility = visibility
        self._index_shards = index_shards
        self._encoders = encoders
        self._limits = limits
        self._now_ms = now_ms
        self._models: dict[str, ModelId] = {}

    async def search(self, request: search_pb2.SearchRequest, deadline: Deadline, room: Room) -> search_pb2.SearchResponse:
        """The k nearest live documents, none matched by a stale vector; raises ClusterError."""
        clock = time.monotonic
        began, began_ms = clock(), self._now_ms()
        self._check(request)
        deadline = deadline.with_margin()
        patience = Deadline.within(PARTIAL_PATIENCE_S) if request.HasField("min_coverage") else None
        encode_s = shards_s = 0.0
        while True:
            cut, query = await self._cut_and_vector(request, deadline, patience)
            run = _Run(request, cut, query, deadline, patience, room)
            asked = clock()
            found = await self._until_full(run)
            encode_s, shards_s = encode_s + query.encode_s, shards_s + clock() - asked
            if not run.outdated:
                break

        freshness = Freshness.of(cut, self._now_ms())
        if found.stale or found.like_is_stale:
            after = await self._reads.cut(request.collection)
            freshness = freshness.worse(Freshness.of(after, self._now_ms()))
            # This answer also misses changes that were made after the first cut and indexed before the second one.
            stale = max(0, found.stale - cut.failed) + found.like_is_stale
            freshness = freshness.with_stale(stale, self._now_ms() - began_ms)
        coverage = coverage_of(cut, set(run.lost), freshness)
        if request.HasField("min_coverage"):
            lacking = shortfall(coverage, request.min_coverage)
            if lacking:
                raise CoverageTooLow(lacking, field="min_coverage", value=f"{request.min_coverage:g}", retry_after_ms=200)
        response = found.reply
        response.coverage.CopyFrom(coverage)
        response.timings.total_us = round(1e6 * (clock() - began))
        response.timings.encode_us = round(1e6 * encode_s)
        response.timings.shards_us = round(1e6 * shards_s)
        return response

    def _check(self, request: search_pb2.SearchRequest) -> None:
        check_collection_name(request.collection, self._limits)
        check_k(request.k, self._limits)
        if request.HasField("min_coverage"):
            check_min_coverage(request.min_coverage)
        if request.token:
            parse_token(request.token)
        if not request.WhichOneof("query"):
            raise InvalidRequest("query: a text, a vector or the id of a document is needed", field="query")
        if request.text_characters < 0:
            raise InvalidRequest(
                f"text_characters: {request.text_characters} is below 0",
                field="text_characters",
                value=str(request.text_characters),
            )
        if request.HasField("like"):
            check_id(request.like, self._limits, "like")
        if request.HasField("text"):
            check_query_text(request.text, self._limits)

    async def _cut_and_vector(
        self, request: search_pb2.SearchRequest, deadline: Deadline, patience: Deadline | None
    ) -> tuple[Cut, QueryVector]:
        """The cut and the query's vector.

        A text is encoded while the cut is read, assuming that the collection still has the model last seen.
        """
        guess = self._models.get(request.collection) if request.HasField("text") else None
        speculative = None if guess is None else _task(self._encode(guess, request.text, deadline))
        try:
            cut = await self._visibility.cut(request.collection, request.token, deadline)
            if request.HasField("vector"):
                check_vector(request.vector, WriteRules.of(cut.collection), "vector")
                return cut, QueryVector(request.vector)
            if request.HasField("like"):
                return cut, await vector_like(self._reads, self._index_shards, cut, request.like, deadline, patience)
            generation = cut.generation
            if not generation.model:
                raise InvalidRequest(
                    f"text: collection {request.collection!r} has no model, so search it with a vector", field="text"
                )
            model = ModelId(generation.model, generation.fingerprint)
            self._models[request.collection] = model
            if speculative is None or model != guess:
                return cut, await self._encode(model, request.text, deadline)
            return cut, await speculative
        except LedgerError:
            self._models.pop(request.collection, None)
            raise
        finally:
            if speculative is not None:
                speculative.cancel()

    async def _encode(self, model: ModelId, text: str, deadline: Deadline) -> QueryVector:
        clock = time.monotonic
        began = clock()
        answer = await self._encoders.query(model, text, AS_QUERY, deadline)
        if answer.encoded is None:
            raise InvalidRequest(f"text: {answer.error}", field="text")
        return QueryVector(answer.encoded.vector, clock() - began)

    async def _until_full(self, run: _Run) -> _Validated:
        """Asks for more candidates until k live hits are certain or every shard is exhausted."""
        k = run.request.k
        # The document that hits are like would be one of them.
        wanted = k + bool(run.query.document)
        # A shard without segments has no rows.
        asked = [shard for shard in run.cut.shards if shard.through]
        while True:
            await self._ask(run, asked, wanted)
            # Only now: a search that waits for a shard keeps no room.
            await run.room.reserve_reply(self._most_bytes(run.request))
            found = await self._validate(run, settled(run.answers.values()))
            asked = [shard for shard in asked if shard.number not in run.lost and not run.answers[shard.number].exhausted]
            if len(found.reply.hits) >= k or not asked:
                run.room.shrink_reply(found.bytes)
                if run.query.document:
                    found.like_is_stale = await self._has_changed(run)
                return found
            wanted *= 2

    async def _ask(self, run: _Run, shards: list[ShardCut], wanted: int) -> None:
        """Queries shards in parallel; without `min_coverage` an unreachable shard fails the search."""
        tasks = {
            shard.number: _task(
                self._index_shards.search_shard(
                    ShardId(run.cut.generation.id, shard.number),
                    run.query.packed,
                    wanted,
                    shard.through,
                    run.deadline,
                    run.patience,
                )
            )
            for shard in shards
        }
        if not tasks:
            return
        strict = run.patience is None
        try:
            when = asyncio.FIRST_EXCEPTION if strict else asyncio.ALL_COMPLETED
            await asyncio.wait(tasks.values(), return_when=when)
            for number, task in tasks.items():
                # Not done: another task has failed, and this loop raises its exception.
                if not task.done():
                    continue
                try:
                    run.answers[number] = task.result()
                except _NOT_REACHED as error:
                    if strict:
                        raise
                    run.lost[number] = error
                    # Its earlier answer remains valid, as far as it goes.
                    run.answers[number] = replace(run.answers.get(number, ShardAnswer((), True)), exhausted=True)
        finally:
            for task in tasks.values():
                task.cancel()

    async def _has_changed(self, run: _Run) -> bool:
        """Whether the document whose vector is the query now has another content, or none."""
        like = run.query.document
        now = (await self._reads.hydrate(run.cut.collection.id, run.cut.generation.id, [like], False)).get(like)
        return now is None or now.deleted or now.content_version != run.query.version

    async def _validate(self, run: _Run, candidates: list[Candidate]) -> _Validated:
        """Drops candidates that are no longer current, until there are k hits."""
        k = run.request.k
        found = _Validated()
        if run.query.document:
            candidates = [candidate for candidate in candidates if candidate.id != run.query.document]
        start = 0
        most = max(1, _HYDRATE_BYTES // self._hit_bytes(run.request))
        while start < len(candidates) and len(found.reply.hits) < k:
            chunk = candidates[start : start + min(most, max(k - len(found.reply.hits), _HYDRATE_LEAST))]
            start += len(chunk)
            documents = await self._reads.hydrate(
                run.cut.collection.id,
                run.cut.generation.id,
                [candidate.id for candidate in chunk],
                run.request.include_text,
            )
            for candidate in chunk:
                document = documents.get(candidate.id)
                if document is None or document.deleted:
                    found.hidden += 1
                elif document.content_version != candidate.version:
                    found.stale += 1
                elif len(found.reply.hits) < k:
                    self._add_hit(run.request, found, candidate, document)
        return found

    def _add_hit(
        self, request: search_pb2.SearchRequest, found: _Validated, candidate: Candidate, document: LiveDocument
    ) -> None:
        """Raises MessageTooLarge as soon as the reply is too large, before more documents are read."""
        hit = found.reply.hits.add(
            id=candidate.id,
            score=candidate.score,
            version=document.version,
            payload=document.payload,
            text=(document.text or "")[: request.text_characters or None],
            truncated=document.truncated,
        )
        found.bytes += hit.ByteSize() + _FIELD_BYTES
        check_reply_part(found.bytes, self._limits.message_bytes, f"{len(found.reply.hits)} of {request.k} hits")

    def _hit_bytes(self, request: search_pb2.SearchRequest) -> int:
        """What a hit may take while it is read."""
        limits = self._limits
        return limits.id_bytes + limits.payload_bytes + (limits.text_bytes if request.include_text else 0) + _FIELD_BYTES

    def _most_bytes(self, request: search_pb2.SearchRequest) -> int:
        return min(self._limits.message_bytes, request.k * self._hit_bytes(request))


def _task(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task whose exception need not be retrieved, since it may be abandoned while it fails."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return task

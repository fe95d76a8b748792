"""The routing board: every change is seen, nothing is sent twice, a slow reader gets the newest."""

from __future__ import annotations

import asyncio

from shoal.cluster.coordinator.routing_board import RoutingBoard
from shoal.internal.v1 import coordinator_pb2


def message(*models: str) -> coordinator_pb2.WatchRoutingResponse:
    return coordinator_pb2.WatchRoutingResponse(
        epoch=1, encoders=[coordinator_pb2.EncoderRoute(model=model) for model in models]
    )


def test_a_watcher_gets_the_newest_now_and_after_each_change() -> None:
    async def scenario() -> None:
        board = RoutingBoard()
        board.publish(message("a"))
        watching = board.watch()
        first = await anext(watching)
        assert (first.revision, first.encoders[0].model) == (1, "a")

        # An equal message is not a change: no watcher is woken.
        following = asyncio.ensure_future(anext(watching))
        board.publish(message("a"))
        await asyncio.sleep(0.01)
        assert not following.done()

        board.publish(message("b"))
        board.publish(message("c"))
        newest = await asyncio.wait_for(following, 5)
        assert (newest.revision, newest.encoders[0].model) == (3, "c")
        await watching.aclose()  # pyright: ignore[reportAttributeAccessIssue]

    asyncio.run(scenario())


def test_a_change_while_the_watcher_is_busy_is_not_missed() -> None:
    async def scenario() -> None:
        board = RoutingBoard()
        watching = board.watch()
        assert (await anext(watching)).revision == 0
        board.publish(message("a"))
        assert (await asyncio.wait_for(anext(watching), 5)).revision == 1
        await watching.aclose()  # pyright: ignore[reportAttributeAccessIssue]

    asyncio.run(scenario())


def test_every_watcher_is_woken() -> None:
    async def scenario() -> None:
        board = RoutingBoard()
        watchers = [board.watch() for _ in range(5)]
        for watching in watchers:
            await anext(watching)
        waiting = [asyncio.ensure_future(anext(watching)) for watching in watchers]
        await asyncio.sleep(0)
        board.publish(message("a"))
        seen = await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert [one.revision for one in seen] == [1] * 5
        for watching in watchers:
            await watching.aclose()  # pyright: ignore[reportAttributeAccessIssue]

    asyncio.run(scenario())

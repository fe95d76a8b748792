"""Several processes on one ledger, and what remains of a killed writer."""

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ledgers import NOW_MS, Ledger, open_ledger

from shoal.cluster.decisions.admission import Incoming
from shoal.cluster.decisions.tokens.awaited_writes import AwaitedWrites
from shoal.cluster.decisions.tokens.write_token import WriteToken
from shoal.cluster.ledger.connection import migrate, open_engine
from shoal.cluster.ledger.errors import LeaseHeld
from shoal.cluster.ledger.lease import acquire_lease

PREAMBLE = """
    import sys
    from shoal.cluster.decisions.admission import Incoming
    from shoal.cluster.ledger.connection import open_engine
    from shoal.cluster.ledger.reader import LedgerReader
    from shoal.cluster.ledger.records import WriteBatch
    from shoal.cluster.ledger.writer import LedgerWriter
    url, epoch, now_ms = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
"""
WRITE_FOR_EVER = """
    writer = LedgerWriter(open_engine(url, read_only=False), epoch)
    for number in range(1_000_000):
        group = [WriteBatch("papers", [Incoming(f"{number}-{part}", "reef " * 50) for part in range(5)]) for _ in range(2)]
        outcomes = writer.write(group, now_ms)
        print(number, outcomes[-1].sequence, flush=True)
"""
READ_WHEN_ASKED = """
    reader = LedgerReader(open_engine(url, read_only=True))
    for line in sys.stdin:
        print([document.text for document in reader.get("papers", [line.strip()])], flush=True)
"""


@contextmanager
def process(ledger: Ledger, script: str) -> Iterator[subprocess.Popen[str]]:
    program = textwrap.dedent(PREAMBLE) + textwrap.dedent(script)
    command = [sys.executable, "-c", program, ledger.url, str(ledger.epoch), str(NOW_MS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def test_everything_acknowledged_is_there_after_kill_9(ledger_url: str) -> None:
    with open_ledger(ledger_url) as ledger:
        generation = ledger.create().generation.id
        with process(ledger, WRITE_FOR_EVER) as child:
            assert child.stdout is not None
            acknowledged = [child.stdout.readline() for _ in range(30)]
            child.kill()
            # Writes printed before the kill took effect were acknowledged too.
            acknowledged += child.stdout.read().splitlines()
    whole = [line.split() for line in acknowledged if len(line.split()) == 2]
    last, sequence = int(whole[-1][0]), int(whole[-1][1])
    assert last >= 29
    with open_ledger(ledger_url) as ledger:
        ids = [f"{number}-{part}" for number in range(last + 1) for part in range(5)]
        assert [document.id for document in ledger.reader.get("papers", ids)] == ids
        token = WriteToken.of(ledger.reader.collection("papers").id, sequence)
        cut = ledger.reader.cut("papers", AwaitedWrites(token))
        assert cut.collection.sequence >= sequence and cut.token_pending
        # Whole groups or nothing, including the one in progress.
        assert cut.pending % 5 == 0 and cut.pending >= len(ids)
        assert cut.pending == sum(shard.documents for shard in cut.shards)
        ledger.drain(generation)
        assert ledger.reader.cut("papers").pending == 0


def test_another_process_sees_each_commit_at_once(ledger: Ledger) -> None:
    ledger.create()
    with process(ledger, READ_WHEN_ASKED) as child:
        assert child.stdin is not None and child.stdout is not None
        for text in ("one", "two", "three"):
            ledger.upsert(Incoming("a", text))
            child.stdin.write("a\n")
            child.stdin.flush()
            assert child.stdout.readline() == f"['{text}']\n"


def test_readers_do_not_wait_for_a_write_in_progress(ledger: Ledger) -> None:
    ledger.create()
    ledger.upsert(Incoming("a", "before"))
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE document SET payload = '[]'")
        assert [document.payload for document in ledger.reader.get("papers", ["a"])] == ["{}"]
        assert ledger.reader.cut("papers").pending == 1


def test_of_two_coordinators_that_start_at_once_one_gets_the_lease(ledger_url: str) -> None:
    engine = open_engine(ledger_url, read_only=False)
    barrier = threading.Barrier(4)
    got: list[int] = []
    held: list[str] = []

    def start(name: str) -> None:
        barrier.wait()
        migrate(engine)
        try:
            got.append(acquire_lease(engine, name, "", 10_000, NOW_MS))
        except LeaseHeld as error:
            held.append(error.holder)

    threads = [threading.Thread(target=start, args=(f"c{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    assert got == [1] and len(set(held)) == 1 and len(held) == 3


def test_writes_from_several_threads_lose_no_count(ledger: Ledger) -> None:
    generation = ledger.create().generation.id
    failures: list[Exception] = []

    def write(worker: int) -> None:
        try:
            for number in range(10):
                ledger.upsert(Incoming(f"{worker}-{number}", "x"), Incoming("shared", f"{worker} {number}"))
                ledger.apply(generation, [])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    cut = ledger.reader.cut("papers")
    assert cut.collection.sequence == 30
    assert sum(shard.documents for shard in cut.shards) == cut.pending == 31
    (shared,) = ledger.reader.get("papers", ["shared"])
    assert shared.version == 30

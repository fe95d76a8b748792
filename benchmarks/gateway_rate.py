"""How much of the encoder's own rate reaches a client: texts through client, gateway and replica against the same engine in
this process, in turn. All share the cores of the machine, so what the others take the encoder lacks. Quick: `--quick`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence

from encode import running_engine
from real_texts import text_sets
from served_cluster import served

from shoal.client import Client

MODEL = "all-MiniLM-L6-v2"


def main() -> None:
    """Prints a row for each set of texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=4000, help="short texts; of the longer ones about as many tokens")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="few texts, two rounds")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.texts, arguments.rounds = 400, 2
    threads = os.cpu_count() or 1
    engine = running_engine(MODEL, threads, None)
    rows = []
    with served() as address, Client(address, timeout=300) as client:

        def through_gateway(texts: Sequence[str]) -> int:
            return sum(len(batch) for batch in client.embed_many(MODEL, texts))

        for texts in text_sets(arguments.texts):
            own: list[float] = []
            gateway: list[float] = []
            through_gateway(texts.texts)
            for _ in range(arguments.rounds):
                begun = time.perf_counter()
                engine.submit(texts.texts).result()
                between = time.perf_counter()
                through_gateway(texts.texts)
                own.append(between - begun)
                gateway.append(time.perf_counter() - between)
            count = len(texts.texts)
            rates = {"engine": count / statistics.median(own), "gateway": count / statistics.median(gateway)}
            rows.append({"set": texts.name, "texts": count, **rates, "ratio": rates["gateway"] / rates["engine"]})
    engine.close()
    if arguments.json:
        print(json.dumps({"machine": platform.machine(), "threads": threads, "model": MODEL, "sets": rows}))
        return
    print(f"{platform.machine()}, {threads} cores, {MODEL}, {arguments.rounds} rounds")
    for row in rows:
        print(
            f"{row['set']:7} {row['texts']} texts: engine {row['engine']:.0f} texts/s, through the gateway "
            f"{row['gateway']:.0f} texts/s, ratio {row['ratio']:.2f}"
        )


if __name__ == "__main__":
    main()

"""A process with the store, for tests of several: `python worker.py TASK URL NAME`; it prints what it has done."""

from __future__ import annotations

import asyncio
import itertools
import sys

from adapter.store.store import Store
from tests.unit.adapter.store.records import events, failed, failed_event, finish, insert, message

LEASE = 600.0


async def main(task: str, url: str, name: str) -> None:
    store = await Store.open(url, ttl=3600.0, max_bytes=1 << 30)
    if task == "secret":
        print(store.secret().hex(), flush=True)
    elif task == "write":
        for number in range(25):
            await _respond(store, f"resp_{name}_{number}")
    elif task == "write-forever":
        for number in itertools.count():
            await _respond(store, f"resp_{name}_{number}")
            print(f"resp_{name}_{number}", flush=True)
    elif task == "run":
        await insert(store, f"resp_{name}", background=True, lease=0.0)
        await store.events.append(f"resp_{name}", events(0, 3))
        print("running", flush=True)
        await asyncio.sleep(LEASE)
    elif task == "fail":
        for response_id in await store.responses.fail_abandoned(failed, failed_event):
            print(response_id, flush=True)
    await store.close()


async def _respond(store: Store, response_id: str) -> None:
    await insert(store, response_id, message(f"in_{response_id}", "x" * 3000), lease=LEASE)
    await store.events.append(response_id, events(0, 9))
    await finish(store, response_id, message(f"out_{response_id}"), events=events(10, 12))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

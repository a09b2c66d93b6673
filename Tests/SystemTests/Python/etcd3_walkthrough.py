"""The PyPI package etcd3 against a live cluster: what a Python service does with etcd.

Usage: etcd3_walkthrough.py PORT. Exits with 0 and prints "ok" when everything held.
"""

import sys
import threading
import time

import etcd3

client = etcd3.client(host="127.0.0.1", port=int(sys.argv[1]), timeout=10)

# Keys and values.
client.put("/python/a", "1")
value, metadata = client.get("/python/a")
assert value == b"1" and metadata.key == b"/python/a" and metadata.version == 1, metadata
client.put("/python/b", "2", prev_kv=True)
found = {m.key: v for v, m in client.get_prefix("/python/")}
assert found == {b"/python/a": b"1", b"/python/b": b"2"}, found
assert [m.key for _, m in client.get_prefix("/python/", sort_order="descend")] == [
    b"/python/b",
    b"/python/a",
]
assert client.get("/python/none") == (None, None)

# Transactions.
ok, responses = client.transaction(
    compare=[client.transactions.value("/python/a") == "1"],
    success=[client.transactions.put("/python/a", "3"), client.transactions.get("/python/a")],
    failure=[client.transactions.delete("/python/a")],
)
assert ok and responses[1][0][0] == b"3", responses
assert client.replace("/python/a", "3", "4") and not client.replace("/python/a", "3", "5")

# A watch sees every change, in order.
seen = []
done = threading.Event()


def on_event(response):
    for event in response.events:
        seen.append((type(event).__name__, event.key, event.value))
    if len(seen) >= 3:
        done.set()


watch = client.add_watch_prefix_callback("/python/watched/", on_event)
client.put("/python/watched/x", "1")
client.put("/python/watched/x", "2")
client.delete("/python/watched/x")
assert done.wait(10), seen
assert seen == [
    ("PutEvent", b"/python/watched/x", b"1"),
    ("PutEvent", b"/python/watched/x", b"2"),
    ("DeleteEvent", b"/python/watched/x", b""),
], seen
client.cancel_watch(watch)

# A lease that is kept alive, then revoked, takes its key along.
lease = client.lease(5)
client.put("/python/leased", "here", lease=lease)
assert lease.refresh()[0].TTL == 5
assert lease.keys == [b"/python/leased"], lease.keys
assert 0 < lease.remaining_ttl <= 5
lease.revoke()
assert client.get("/python/leased")[0] is None

# A lease that nobody renews expires by itself.
lease = client.lease(2)
client.put("/python/expiring", "soon gone", lease=lease)
deadline = time.monotonic() + 8
while client.get("/python/expiring")[0] is not None:
    assert time.monotonic() < deadline, "the lease never expired"
    time.sleep(0.1)

# A lock is built from all of the above. (A second acquire would wait, and the package's way of
# waiting doesn't work with today's tenacity; its condition is tried directly.)
with client.lock("python-lock", ttl=10) as lock:
    assert lock.is_acquired()
    free, _ = client.transaction(
        compare=[client.transactions.create(lock.key) == 0], success=[], failure=[]
    )
    assert not free

# The cluster describes itself.
assert len(list(client.members)) == 3
status = client.status()
assert status.leader is not None and status.db_size >= 0

# Deletion and compaction.
assert client.delete("/python/a")
assert client.delete_prefix("/python/").deleted >= 1
_, head = client.get("/python/none"), client.put("/python/last", "x")
client.compact(head.header.revision)
print("ok")

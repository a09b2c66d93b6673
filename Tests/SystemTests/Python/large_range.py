"""Large ranges through grpcio, byte for byte.

Usage: large_range.py load PORT KEYS FILE   puts keys and writes what ranges of them must hold
       large_range.py read PORT KEYS FILE   reads them all, at once and in pages, and compares
"""

import sys

import grpc

from wire import field, split_header

mode, port, keys, path = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
channel = grpc.insecure_channel(
    "127.0.0.1:" + port, options=[("grpc.max_receive_message_length", -1)]
)
PUTS_PER_TXN = 4_000
KEYS_PER_PAGE = 70_000
LAST = 3


def call(method, body):
    return channel.unary_unary("/etcdserverpb.KV/" + method, lambda b: b, lambda b: b)(
        body, timeout=50
    )


def key(number):
    return b"large/%06d" % number


def value(number):
    return b"%08d" % number * 32


def pair(number, revision, shown=True):
    """A key-value as the answer to a range holds it."""
    parts = field(1, key(number)) + field(2, revision) + field(3, revision) + field(4, 1)
    return field(2, parts + (field(5, value(number)) if shown else b""))


def load():
    pairs, bare = [], []
    for first in range(0, keys, PUTS_PER_TXN):
        numbers = range(first, min(keys, first + PUTS_PER_TXN))
        puts = (field(2, field(2, field(1, key(n)) + field(2, value(n)))) for n in numbers)
        header, _ = split_header(call("Txn", b"".join(puts)))
        pairs += [pair(number, header[3]) for number in numbers]
        bare += [pair(number, header[3], shown=False) for number in numbers]
    for suffix, parts in (("", pairs), (".keys", bare), (".last", pairs[: -LAST - 1 : -1])):
        with open(path + suffix, "wb") as file:
            file.write(b"".join(parts))


def expected(suffix=""):
    with open(path + suffix, "rb") as file:
        return file.read()


def read():
    pairs = expected()
    everything = field(1, b"large/") + field(2, b"large0")
    header, body = split_header(call("Range", everything))
    assert body == pairs + field(4, keys), "the whole range"

    whole = b""
    for first in range(0, keys, KEYS_PER_PAGE):
        page = field(1, key(first)) + field(2, b"large0") + field(3, KEYS_PER_PAGE)
        _, body = split_header(call("Range", page + field(4, header[3])))
        left = keys - first
        tail = (field(3, 1) if left > KEYS_PER_PAGE else b"") + field(4, left)
        assert body.endswith(tail), "the end of the page from key %d" % first
        whole += body[: -len(tail)]
    assert whole == pairs, "the pages"

    _, body = split_header(call("Range", everything + field(9, 1)))
    assert body == field(4, keys), "the count alone"
    _, body = split_header(call("Range", everything + field(8, 1)))
    assert body == expected(".keys") + field(4, keys), "the keys alone"
    # By value, descending: the values rise with the keys.
    descending = everything + field(3, LAST) + field(5, 2) + field(6, 4)
    _, body = split_header(call("Range", descending))
    assert body == expected(".last") + field(3, 1) + field(4, keys), "the last by value"


{"load": load, "read": read}[mode]()
print("ok")

"""grpcio itself, without any etcd library: status codes and texts, byte for byte.

Usage: grpcio_errors.py PORT. Messages are built by hand; nothing here shares code with the server.
"""

import sys

import grpc

channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])


def varint(number):
    out = b""
    while True:
        low, number = number & 0x7F, number >> 7
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value & (1 << 64) - 1)


def call(method, body):
    stub = channel.unary_unary(method, lambda b: b, lambda b: b)
    return stub(body, timeout=10)


def fails(method, body, code, text):
    try:
        call(method, body)
    except grpc.RpcError as error:
        assert error.code() == code, (method, error.code(), error.details())
        assert error.details() == text, (method, error.details())
        return
    raise AssertionError(method + " succeeded")


KV = "/etcdserverpb.KV/"
C = grpc.StatusCode
put = lambda key, *rest: field(1, key) + b"".join(rest)

fails(KV + "Put", b"", C.INVALID_ARGUMENT, "etcdserver: key is not provided")
fails(KV + "Range", b"", C.INVALID_ARGUMENT, "etcdserver: key is not provided")
fails(KV + "DeleteRange", b"", C.INVALID_ARGUMENT, "etcdserver: key is not provided")
fails(KV + "Put", put(b"new", field(5, 1)), C.INVALID_ARGUMENT, "etcdserver: key not found")
fails(
    KV + "Put",
    put(b"new", field(2, b"v"), field(5, 1)),
    C.INVALID_ARGUMENT,
    "etcdserver: value is provided",
)
fails(
    KV + "Put",
    put(b"new", field(3, 7), field(6, 1)),
    C.INVALID_ARGUMENT,
    "etcdserver: lease is provided",
)
fails(KV + "Put", put(b"new", field(3, 4711)), C.NOT_FOUND, "etcdserver: requested lease not found")
fails(
    KV + "Range",
    field(1, b"k") + field(4, 1 << 40),
    C.OUT_OF_RANGE,
    "etcdserver: mvcc: required revision is a future revision",
)
fails(
    KV + "Compact",
    field(1, 1 << 40),
    C.OUT_OF_RANGE,
    "etcdserver: mvcc: required revision is a future revision",
)
put_operation = field(2, put(b"twice"))
fails(
    KV + "Txn",
    field(2, put_operation) * 2,
    C.INVALID_ARGUMENT,
    "etcdserver: duplicate key given in txn request",
)
fails(
    KV + "Txn",
    b"".join(field(2, field(2, put(b"k%d" % n))) for n in range(129)),
    C.INVALID_ARGUMENT,
    "etcdserver: too many operations in txn request",
)
fails(
    "/etcdserverpb.Lease/LeaseRevoke",
    field(1, 4711),
    C.NOT_FOUND,
    "etcdserver: requested lease not found",
)
fails(
    "/etcdserverpb.Lease/LeaseGrant",
    field(1, 9_000_000_001),
    C.OUT_OF_RANGE,
    "etcdserver: too large lease TTL",
)
call("/etcdserverpb.Lease/LeaseGrant", field(1, 60) + field(2, 99))
fails(
    "/etcdserverpb.Lease/LeaseGrant",
    field(1, 60) + field(2, 99),
    C.FAILED_PRECONDITION,
    "etcdserver: lease already exists",
)

# A compacted revision.
for number in range(3):
    call(KV + "Put", put(b"compacted", field(2, b"%d" % number)))
revision = 0
answer = call(KV + "Range", field(1, b"compacted"))
# Header is field 1, revision its field 3; read it without a protobuf library.
header = answer[2 : 2 + answer[1]]
position = 0
while position < len(header):
    tag = header[position]
    position += 1
    number, shift = 0, 0
    while True:
        byte = header[position]
        position += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if tag >> 3 == 3:
        revision = number
call(KV + "Compact", field(1, revision))
fails(
    KV + "Range",
    field(1, b"compacted") + field(4, revision - 1),
    C.OUT_OF_RANGE,
    "etcdserver: mvcc: required revision has been compacted",
)
fails(
    KV + "Compact",
    field(1, revision),
    C.OUT_OF_RANGE,
    "etcdserver: mvcc: required revision has been compacted",
)

# Too large, unknown and unserved.
fails(KV + "Put", put(b"big", field(2, b"x" * 1_600_000)), C.INVALID_ARGUMENT,
      "etcdserver: request is too large")
fails("/etcdserverpb.KV/Nothing", b"", C.UNIMPLEMENTED,
      "unknown method Nothing for service etcdserverpb.KV")
fails("/no.Such/Method", b"", C.UNIMPLEMENTED, "unknown service no.Such")
fails("/etcdserverpb.Auth/AuthEnable", b"", C.UNIMPLEMENTED, "method AuthEnable not implemented")
try:
    call(KV + "Put", b"\x0a\xff")
    raise AssertionError("a broken message was accepted")
except grpc.RpcError as error:
    assert error.code() == C.INTERNAL, error.code()
print("ok")

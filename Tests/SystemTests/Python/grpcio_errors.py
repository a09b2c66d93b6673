"""grpcio itself, without any etcd library: status codes and texts, byte for byte.

Usage: grpcio_errors.py PORT
"""

import sys

import grpc

from wire import field, split_header

channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])


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
header, _ = split_header(call(KV + "Range", field(1, b"compacted")))
revision = header[3]
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

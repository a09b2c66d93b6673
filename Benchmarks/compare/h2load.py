"""Runs h2load and reads what it prints."""

import re
import subprocess
import tempfile
from dataclasses import dataclass

PATHS = {
    "put": "/etcdserverpb.KV/Put",
    "range": "/etcdserverpb.KV/Range",
    "serializable-range": "/etcdserverpb.KV/Range",
    "txn": "/etcdserverpb.KV/Txn",
}


@dataclass
class Run:
    requests: int
    seconds: float
    data_bytes: int
    latencies: list  # microseconds, in no order

    @property
    def rate(self):
        return self.requests / self.seconds


class Failed(RuntimeError):
    """A request that didn't succeed, or a write that didn't arrive."""


def run(member, work, body, requests, connections, streams, wants_latencies=False):
    """Makes all requests; every one must be answered with HTTP status 200."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        command = [
            "h2load", "-n", str(requests), "-c", str(connections), "-m", str(streams), "-t", "1",
            "-H", "content-type: application/grpc", "-H", "te: trailers", "-d", str(body),
            # Windows large enough that one answer of any size never waits.
            "-w", "30", "-W", "30",
        ]
        if wants_latencies:
            command += ["--log-file", log.name]
        command.append(f"http://{member.endpoint}{PATHS[work]}")
        output = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        lines = open(log.name).read().splitlines() if wants_latencies else []
    finished = re.search(r"finished in ([\d.]+)(us|ms|s|m)\b", output)
    succeeded = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", output)
    data = re.search(r"\((\d+)\) data", output)
    if not (finished and succeeded and data) or int(succeeded[1]) != requests:
        raise Failed(f"h2load at {member.endpoint}, {work}:\n{output}")
    scale = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[finished[2]]
    return Run(requests, float(finished[1]) * scale, int(data[1]),
               [int(line.split("\t")[2]) for line in lines])

"""See budget.sh, which sets this up and runs it."""

import argparse
import re
import signal
import subprocess
import time
from collections import Counter

from . import clusters, h2load

# A sample belongs to the first step that one of its stack's functions matches.
STEPS = [
    ("write and sync: hand to the kernel, or the thread", r"LogWriter|PosixDisk|fdatasync|pwrite"),
    ("client: cut into frames, headers, message", r"GRPCServerHandler"),
    ("client: one write for a connection's answers", r"GRPCServerConnection\.flush"),
    ("client: find the call, three frames", r"EtcdService\.(answer|fail)"),
    ("apply: decode, map, history, watchers, answer", r"Replica\.apply\(through"),
    ("check, envelope, propose, append to the batch", r"Replica\.accept\("),
    ("peers: cut, decode, consensus", r"Replica\.\(receive"),
    ("batch: seal, checksum, hand to the disk's thread", r"DurableLog|RaftCore\.Persist"),
    ("peers: encode, write", r"PeerNetwork|PeerCodec|KVServer\.Peer"),
    ("sockets: read", r"readOnce"),
    ("snapshots", r"Snapshot|LZ4"),
    ("consensus and replica, the rest", r"RaftCore|Replica\.|ReplicaLoop"),
    ("event loop, wake-ups, allocations whose caller the stack hides", r""),
]


def arguments():
    parser = argparse.ArgumentParser(
        prog="budget.sh", description="Where the processor's time for one put goes.")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--requests", type=int, default=300_000)
    parser.add_argument("--base-port", type=int, default=23890, help="first of 100 ports")
    parser.add_argument("--root", required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def record(cluster, leader, options, file):
    """Puts under the eyes of perf; microseconds of each member for one put."""
    body = cluster.tools.body("put")

    def put(count):
        return h2load.run(leader, "put", body, count, options.connections, options.streams)

    put(options.requests // 5)
    pids = ",".join(str(member.process.pid) for member in cluster.members)
    perf = subprocess.Popen(
        ["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-g", "-p", pids, "-o", file],
        stderr=subprocess.DEVNULL)
    time.sleep(1)  # Nothing tells when it has begun; what it misses is missed of every step alike.
    before = [member.cpu_seconds for member in cluster.members]
    print(f"{put(options.requests).rate:,.0f} puts a second")
    after = [member.cpu_seconds for member in cluster.members]
    perf.send_signal(signal.SIGINT)
    perf.wait()
    return {member.process.pid: (end - start) * 1e6 / options.requests
            for member, start, end in zip(cluster.members, before, after)}


def samples(file):
    """Process and stack of each sample."""
    script = subprocess.run(
        ["perf", "script", "-i", file, "-F", "pid,ip,sym"], check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL).stdout
    text = subprocess.run(
        ["swift", "demangle", "--compact"], input=script, check=True,
        stdout=subprocess.PIPE).stdout.decode(errors="replace")
    for block in text.split("\n\n"):
        pid = re.match(r"\s*(\d+)", block)
        if pid:
            yield int(pid[1]), block


def step(stack):
    return next(title for title, pattern in STEPS if re.search(pattern, stack))


def main():
    options = arguments()
    with clusters.martlet_alone(options.root, options.base_port) as cluster:
        file = str(cluster.tools.folder / "perf.data")
        leader = cluster.leader
        micros = record(cluster, leader, options, file)
        leading = leader.process.pid
    seen = {pid: Counter() for pid in micros}
    for pid, stack in samples(file):
        seen[pid][step(stack)] += 1

    def share(pid, title):
        return micros[pid] * seen[pid][title] / max(1, seen[pid].total())

    followers = [pid for pid in micros if pid != leading]
    print("| step | leader, µs | each follower, µs |\n| --- | --- | --- |")
    for title, _ in STEPS:
        mean = sum(share(pid, title) for pid in followers) / len(followers)
        print(f"| {title} | {share(leading, title):.2f} | {mean:.2f} |")
    mean = sum(micros[pid] for pid in followers) / len(followers)
    print(f"| **together** | **{micros[leading]:.2f}** | **{mean:.2f}** |")


if __name__ == "__main__":
    main()

"""The rows of the table: what is done to a cluster, and how good Martlet must be at it."""

import signal
import statistics
import time
from dataclasses import dataclass, field
from typing import Callable, Optional

from . import h2load

VALUE_BYTES = 256
# Short, and many: the machine's speed changes from minute to minute, so that only what was measured
# seconds apart compares.
ROUND_SECONDS = 2
RATE_ROUNDS = 7
GROWTH_BURSTS = 7
MOST_PUTS_A_ROUND = 1_500_000


@dataclass
class Row:
    """One line of the table."""
    figure: str
    title: str
    unit: str
    # A ratio Martlet / etcd, or a bound in the row's unit for Martlet alone.
    at_least: Optional[float] = None
    at_most: Optional[float] = None
    bound: Optional[float] = None
    # Not where etcd's figure may be nothing.
    is_compared: bool = True

    def is_met(self, ratio, martlet):
        if self.bound is not None:
            return martlet <= self.bound
        if ratio is None:
            return None
        if self.at_least is not None:
            return ratio >= self.at_least
        if self.at_most is not None:
            return ratio <= self.at_most
        return None


@dataclass
class Work:
    name: str
    rows: list
    measure: Callable  # of a cluster; gives figures by name, and perhaps "cpu": µs per request
    rounds: int = 3
    # The cluster is made anew for each round, and the other one is stopped.
    is_alone: bool = False


WORKS = []


def work(name, *rows, **options):
    def register(measure):
        WORKS.append(Work(name, list(rows), measure, **options))
        return measure
    return register


# Rates and latencies of single calls, by h2load

def requests_a_round(member, work, body, connections, streams):
    """As many as take about ROUND_SECONDS."""
    in_flight = connections * streams
    pilot = h2load.run(member, work, body, max(200, 20 * in_flight), connections, streams)
    return min(MOST_PUTS_A_ROUND, max(1000, int(pilot.rate * ROUND_SECONDS)))


def load(cluster, member, work, connections, streams, wants_latencies=False, body=None):
    """One run of about ROUND_SECONDS, checked by revisions for writes and by bytes for reads."""
    tools = cluster.tools
    body = body or tools.body(work)
    writes = work in ("put", "txn")
    requests = requests_a_round(member, work, body, connections, streams)
    if writes:
        cluster.compact()
    before = cluster.revision(member)
    cpu = cluster.cpu_seconds
    run = h2load.run(member, work, body, requests, connections, streams, wants_latencies)
    cpu = cluster.cpu_seconds - cpu
    arrived = cluster.revision(member) - before
    if writes and arrived != requests:
        raise h2load.Failed(f"{requests} writes were answered, {arrived} arrived")
    if not writes and run.data_bytes < requests * VALUE_BYTES:
        raise h2load.Failed(f"{run.data_bytes} bytes for {requests} reads")
    return run, cpu / requests * 1e6


def rate(cluster, member, work, connections, streams):
    if "range" in work:
        put_one(cluster)
    run, cpu = load(cluster, member, work, connections, streams)
    return {"rate": run.rate, "cpu": cpu}


def latency(cluster, work):
    if "range" in work:
        put_one(cluster)
    run, cpu = load(cluster, cluster.leader, work, 1, 1, wants_latencies=True)
    return {"median": statistics.median(run.latencies), "mean": statistics.mean(run.latencies),
            "cpu": cpu}


def put_one(cluster):
    """The key that ranges of one key read."""
    cluster.tools.load(cluster.leader, "run", "put", "--requests", "1")


def rate_work(name, title, kind, connections, streams, at_least, at_follower=False):
    @work(name, Row("rate", title, "/s", at_least=at_least), rounds=RATE_ROUNDS)
    def measure(cluster):
        member = cluster.follower if at_follower else cluster.leader
        return rate(cluster, member, kind, connections, streams)


def latency_work(name, title, kind):
    @work(name, Row("median", f"{title}, median", "µs", at_most=0.5),
          Row("mean", f"{title}, mean", "µs", at_most=0.5), rounds=RATE_ROUNDS)
    def measure(cluster):
        return latency(cluster, kind)


rate_work("put-64x16", "put, 64 connections × 16 streams", "put", 64, 16, 7)
rate_work("put-8x16", "put, 8 × 16", "put", 8, 16, 8)
rate_work("put-64x1", "put, 64 × 1", "put", 64, 1, 5)
latency_work("put-1x1", "put, 1 × 1", "put")
rate_work("range-64x16", "linearizable range, 64 × 16", "range", 64, 16, 6)
rate_work("range-64x1", "linearizable range, 64 × 1", "range", 64, 1, 4)
latency_work("range-1x1", "linearizable range, 1 × 1", "range")
rate_work("serializable-64x16", "serializable range, 64 × 16", "serializable-range", 64, 16, 5)
rate_work("serializable-64x1", "serializable range, 64 × 1", "serializable-range", 64, 1, 3)
rate_work("put-follower", "put sent to a follower, 64 × 16", "put", 64, 16, 6, at_follower=True)
rate_work("range-follower", "linearizable range sent to a follower, 64 × 16", "range", 64, 16, 5,
          at_follower=True)


@work("txn-8x16", Row("rate", "transaction of 4 puts, 8 × 16", "/s", at_least=6),
      rounds=RATE_ROUNDS)
def transactions(cluster):
    body = cluster.tools.body("txn", "--keys", "100")
    run, cpu = load(cluster, cluster.leader, "txn", 8, 16, body=body)
    return {"rate": run.rate, "cpu": cpu}


# By our own generator

def own_load(cluster, *arguments):
    """A run of kvload that measures the members' CPU per call."""
    cpu = cluster.cpu_seconds
    figures = cluster.tools.load(cluster.leader, "run", *arguments)
    cpu = cluster.cpu_seconds - cpu
    calls = figures["succeeded"]
    return {"rate": calls / figures["seconds"], "cpu": cpu / calls * 1e6}


@work("put-spread", Row("rate", "put over 100,000 keys, 64 × 16", "/s"), rounds=RATE_ROUNDS)
def spread_puts(cluster):
    cluster.compact()
    before = cluster.revision(cluster.leader)
    figures = own_load(cluster, "put", "--connections", "64", "--streams", "16",
                       "--keys", "100000", "--seconds", str(ROUND_SECONDS))
    arrived = cluster.revision(cluster.leader) - before
    if arrived < figures["rate"] * ROUND_SECONDS * 0.99:
        raise h2load.Failed(f"only {arrived} puts arrived")
    return figures


def keep_alive_work(connections, streams):
    @work(f"keep-alive-{connections}x{streams}",
          Row("rate", f"lease keep-alive streams, {connections} × {streams}", "/s", at_least=5),
          rounds=RATE_ROUNDS)
    def measure(cluster):
        return own_load(cluster, "keep-alive", "--connections", str(connections),
                        "--streams", str(streams), "--seconds", str(ROUND_SECONDS))


keep_alive_work(64, 16)
keep_alive_work(8, 16)


@work("watch-1000", Row("p99", "1,000 watchers of one key, until the last has seen, p99", "ms",
                        at_most=0.25))
def watchers(cluster):
    figures = cluster.tools.load(cluster.leader, "watch", "--watchers", "1000", "--events", "300")
    return {"p99": figures["latency"]["p99Microseconds"] / 1000}


# Failover

def longest_gap(cluster, number):
    """Puts go on at a follower while the leader gets a signal; the longest time without one."""
    leader, survivor = cluster.leader, cluster.follower
    load = cluster.tools.begin_load(
        survivor, "run", "put", "--connections", "4", "--streams", "4", "--seconds", "6",
        "--allow-failures")
    time.sleep(2)
    leader.end(number)
    figures = cluster.tools.finish_load(load)
    leader.start()
    cluster.wait_until_serving(leader)
    return figures["longestGapMicroseconds"] / 1000


@work("leader-killed", Row("gap", "leader killed (SIGKILL): longest gap between puts", "ms",
                           bound=100), rounds=10)
def killed(cluster):
    return {"gap": longest_gap(cluster, signal.SIGKILL)}


@work("leader-stopped", Row("gap", "leader stopped (SIGTERM): longest gap between puts", "ms",
                            bound=50), rounds=10)
def stopped(cluster):
    return {"gap": longest_gap(cluster, signal.SIGTERM)}


# A million keys

@dataclass
class Background:
    """Puts on a schedule beside something else."""
    cluster: object
    seconds: int
    rate: int = 500
    process: object = field(init=False)

    def __post_init__(self):
        self.process = self.cluster.tools.begin_load(
            self.cluster.leader, "run", "put", "--connections", "4", "--rate", str(self.rate),
            "--requests", str(self.rate * self.seconds))

    def latency(self):
        return self.cluster.tools.finish_load(self.process)["latency"]


@work("million-keys",
      Row("restart", "1 M keys of 16 + 256 bytes: all killed, until each answers", "s",
          at_most=0.3),
      Row("memory", "1 M keys: resident memory of a member after restart", "MB", at_most=0.6),
      Row("range", "range of 1 M keys: put p99 meanwhile", "ms", bound=20),
      Row("extra", "range of 1 M keys: peak extra memory", "MiB", bound=64),
      Row("catch-up", "1 M keys: longest put while a snapshot is taken and a follower caught up",
          "ms", bound=20),
      rounds=1, is_alone=True)
def million(cluster):
    tools = cluster.tools
    tools.load(cluster.leader, "fill", "--keys", "1000000")
    cluster.kill()
    begin = time.monotonic()
    cluster.start()
    figures = {"restart": time.monotonic() - begin}
    figures["memory"] = statistics.mean(m.resident_bytes for m in cluster.members) / 1e6
    figures.update(range_all(cluster))
    figures["catch-up"] = catch_up(cluster)
    return figures


def range_all(cluster):
    leader = cluster.leader
    body = cluster.tools.body("range", "--all-keys")
    leader.reset_peak()
    before = leader.resident_bytes
    puts = Background(cluster, seconds=8)
    time.sleep(1)
    answer = h2load.run(leader, "range", body, 1, 1, 1)
    if answer.data_bytes < 1_000_000 * (16 + VALUE_BYTES):
        raise h2load.Failed(f"a range of 1 M keys came with {answer.data_bytes} bytes")
    return {"range": puts.latency()["p99Microseconds"] / 1000,
            "extra": (leader.peak_bytes - before) / (1 << 20)}


def catch_up(cluster):
    """A follower is away while the log grows by more than a snapshot, and comes back."""
    follower = cluster.follower
    follower.end(signal.SIGKILL)
    leader = cluster.leader
    cluster.tools.load(
        leader, "run", "put", "--connections", "8", "--streams", "16", "--keys", "1000000",
        "--requests", "1500000")
    puts = Background(cluster, seconds=30)
    time.sleep(1)
    follower.start()
    longest = puts.latency()["maximumMicroseconds"] / 1000
    cluster.wait_until_serving(follower)
    return longest


@work("lease-expiry", Row("p99", "100,000 leases expiring in one second: put p99 meanwhile", "ms",
                          bound=20), rounds=1, is_alone=True)
def expiring(cluster):
    figures = cluster.tools.load(cluster.leader, "leases", "--count", "100000",
                                 "--seconds", "120")
    return {"p99": figures["latency"]["p99Microseconds"] / 1000}


# At rest

@work("idle", Row("memory", "idle member: resident memory", "MB", bound=25),
      Row("cpu-share", "idle member: CPU", "%", bound=0.5), rounds=1, is_alone=True)
def idle(cluster):
    time.sleep(5)
    seconds = 20
    cpu = cluster.cpu_seconds
    time.sleep(seconds)
    share = (cluster.cpu_seconds - cpu) / seconds / len(cluster.members) * 100
    memory = statistics.mean(m.resident_bytes for m in cluster.members) / 1e6
    return {"memory": memory, "cpu-share": share}


# As things grow: the rate must stay within 20 %

def loss(change):
    return Row("loss", f"loss from {change}", "%", bound=20, is_compared=False)


@work("grow-keys",
      Row("small", "put, 8 × 16, 1,000 keys", "/s"),
      Row("large", "the same, 1,000,000 keys", "/s"),
      loss("10³ to 10⁶ keys"), rounds=1, is_alone=True)
def grow_keys(cluster):
    with cluster.twin() as small:
        for one, keys in ((small, 1_000), (cluster, 1_000_000)):
            one.tools.load(one.leader, "fill", "--keys", str(keys))
            one.compact()
        return growth((small, 1_000), (cluster, 1_000_000))


@work("grow-history",
      Row("small", "put, 8 × 16, no history", "/s"),
      Row("large", "the same, after 1.5 M puts of history", "/s"),
      loss("0 to 1.5 M revisions of history"), rounds=1,
      is_alone=True)
def grow_history(cluster):
    with cluster.twin() as small:
        cluster.tools.load(
            cluster.leader, "run", "put", "--connections", "8", "--streams", "16",
            "--keys", "1000", "--requests", "1500000")
        return growth((small, 1_000), (cluster, 1_000), before_small=small.compact)


@work("grow-watchers",
      Row("small", "put, 8 × 16, no watcher", "/s"),
      Row("large", "the same, beside 100,000 watchers of other keys", "/s"),
      loss("0 to 10⁵ watchers"), rounds=1, is_alone=True)
def grow_watchers(cluster):
    with cluster.twin() as small:
        watchers = cluster.tools.begin_load(
            cluster.leader, "watch", "--watchers", "100000", "--hold", "60")
        if watchers.stdout.readline().strip() != "ready":
            raise RuntimeError("the watchers don't stand")
        figures = growth((small, 1), (cluster, 1))
        cluster.tools.finish_load(watchers)
        return figures


def growth(small, large, before_small=lambda: None):
    """Bursts of puts on a cluster that hasn't grown and on one that has, in turns.

    Both are given with the number of keys that the puts are spread over.
    """
    def burst(cluster, keys):
        return own_load(cluster, "put", "--connections", "8", "--streams", "16",
                        "--keys", str(keys), "--seconds", str(ROUND_SECONDS))["rate"]

    pairs = []
    for number in range(GROWTH_BURSTS):
        before_small()
        if number % 2 == 0:
            pairs.append((burst(*small), burst(*large)))
        else:
            pairs.append((burst(*large), burst(*small))[::-1])
    return {"small": statistics.median(before for before, _ in pairs),
            "large": statistics.median(after for _, after in pairs),
            "loss": max(0.0, statistics.median(1 - after / before for before, after in pairs)
                        * 100)}

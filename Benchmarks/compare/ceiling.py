"""See ceiling.sh, which sets this up and runs it."""

import argparse
import random
import subprocess
import sys
from dataclasses import dataclass

from . import clusters, h2load, report, works

SHAPES = [(64, 16), (8, 16), (64, 1)]
WORKS = {"serializable-range": "serializable range", "range": "linearizable range", "put": "put"}


def arguments():
    parser = argparse.ArgumentParser(
        prog="ceiling.sh", description="Martlet beside what this machine allows.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--base-port", type=int, default=23990, help="first of 100 ports")
    parser.add_argument("--root", required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


class Programs:
    """The processes of Ceiling/ceiling.c."""

    def __init__(self, binary):
        self.binary = binary
        self.started = []

    def start(self, *words):
        process = subprocess.Popen(
            [str(self.binary), *map(str, words)], stdout=subprocess.PIPE, text=True)
        self.started.append(process)
        if process.stdout.readline() != "listening\n":
            raise RuntimeError(f"{process.args} doesn't listen")

    def end(self):
        for process in reversed(self.started):
            process.kill()
            process.wait()


@dataclass
class Endpoint:
    """Something that h2load can be pointed at."""
    endpoint: str


def start(programs, folder, base_port, answer_bytes):
    """Who only answers, and who also writes: by work."""
    answering, leading, *peers = range(base_port + 50, base_port + 54)
    programs.start(answering, answer_bytes["range"])
    for peer in peers:
        programs.start("follow", peer, folder / f"ceiling-{peer}")
    programs.start(leading, answer_bytes["put"], folder / f"ceiling-{leading}", *peers)
    reads = Endpoint(f"127.0.0.1:{answering}")
    return {"range": reads, "serializable-range": reads, "put": Endpoint(f"127.0.0.1:{leading}")}


def rate(endpoint, work, body, connections, streams):
    requests = works.requests_a_round(endpoint, work, body, connections, streams)
    return h2load.run(endpoint, work, body, requests, connections, streams).rate


def message_bytes(cluster, work):
    """An answer's, with the five bytes before it."""
    run = h2load.run(cluster.leader, work, cluster.tools.body(work), 100, 1, 1)
    return run.data_bytes // run.requests


def measure(cluster, ceilings, rounds):
    """Both rates of each round, by work and shape."""
    seen = {}
    for number in range(rounds):
        for work in WORKS:
            for shape in SHAPES:
                measures = [
                    ("Martlet",
                     lambda: works.rate(cluster, cluster.leader, work, *shape)["rate"]),
                    ("ceiling",
                     lambda: rate(ceilings[work], work, cluster.tools.body(work), *shape))]
                random.shuffle(measures)
                got = {name: run() for name, run in measures}
                seen.setdefault((work, shape), []).append(got)
                print(f"{work} {shape[0]} × {shape[1]}, round {number + 1}: " + ", ".join(
                    f"{name} {report.number(got[name])}/s" for name in sorted(got)),
                    file=sys.stderr, flush=True)
    return seen


def table(seen):
    lines = ["| work | ceiling | Martlet | of the ceiling |", "| --- | --- | --- | --- |"]
    for work in WORKS:
        for shape in SHAPES:
            rounds = seen[work, shape]
            shares = [got["Martlet"] / got["ceiling"] * 100 for got in rounds]
            lines.append(
                f"| {WORKS[work]}, {shape[0]} × {shape[1]} "
                f"| {report.figure([got['ceiling'] for got in rounds], '/s')} "
                f"| {report.figure([got['Martlet'] for got in rounds], '/s')} "
                f"| {report.quartiled(shares, '{:.0f}'.format, '%')} |")
    return "\n".join(lines)


def main():
    options = arguments()
    with clusters.martlet_alone(options.root, options.base_port) as cluster:
        folder = cluster.tools.folder
        programs = Programs(folder / "ceiling")
        works.put_one(cluster)
        answer_bytes = {work: message_bytes(cluster, work) for work in ("range", "put")}
        try:
            ceilings = start(programs, folder, options.base_port, answer_bytes)
            print(table(measure(cluster, ceilings, options.rounds)))
        finally:
            programs.end()
            for file in folder.glob("ceiling-*"):
                file.unlink()


if __name__ == "__main__":
    main()

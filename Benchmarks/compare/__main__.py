"""See compare.sh, which sets this up and runs it."""

import argparse
import signal
import sys
from pathlib import Path

from . import clusters, report
from .works import WORKS


def arguments():
    parser = argparse.ArgumentParser(prog="compare.sh", description="Martlet beside etcd 3.5.1.")
    parser.add_argument("--only", action="append", metavar="NAME", help="this work (repeatable)")
    parser.add_argument("--list", action="store_true", help="the names of all works")
    parser.add_argument("--rounds", type=int, help="rounds of each work (default: its own)")
    parser.add_argument("--skip-etcd", action="store_true", help="Martlet alone, for quick looks")
    parser.add_argument("--kvserver", metavar="FILE",
                        help="another build of the member (default: Scripts/build-release.sh's)")
    parser.add_argument("--json", metavar="FILE", help="all figures of all rounds")
    parser.add_argument("--svg", metavar="FILE", help="a picture of the rates")
    parser.add_argument("--base-port", type=int, default=23790, help="first of 200 ports")
    parser.add_argument("--root", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--venv", required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def chosen(names):
    known = {work.name for work in WORKS}
    unknown = set(names or []) - known
    if unknown:
        sys.exit(f"no work named {', '.join(sorted(unknown))}: see --list")
    return [work for work in WORKS if not names or work.name in names]


def measure(work, contenders, rounds):
    """Figures of one work by kind: lists by name, in alternation."""
    figures = {cluster.kind: {} for cluster in contenders}
    for number in range(rounds or work.rounds):
        for cluster in contenders if number % 2 == 0 else reversed(contenders):
            if work.is_alone:
                for other in contenders:
                    other.stop()
                cluster.start_fresh()
            else:
                cluster.start()
            seen = work.measure(cluster)
            text = ", ".join(f"{name} {report.number(value)}" for name, value in seen.items())
            print(f"{work.name} {number + 1} {cluster.kind}: {text}", file=sys.stderr, flush=True)
            for name, value in seen.items():
                figures[cluster.kind].setdefault(name, []).append(value)
    return figures


def lines(work, figures):
    etcd, martlet = figures.get("etcd", {}), figures["Martlet"]
    return [
        report.Line(row, work.name, etcd.get(row.figure, []), martlet.get(row.figure, []),
                    etcd.get("cpu", []), martlet.get("cpu", []))
        for row in work.rows]


def main():
    options = arguments()
    if options.list:
        for work in WORKS:
            print(f"{work.name:20} {work.rows[0].title}")
        return
    # Whoever ends this ends the clusters, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    folder = Path(options.root).resolve() / ".build-compare"
    tools = clusters.Tools(options.root, options.venv, folder)
    if options.kvserver:
        tools.kvserver = Path(options.kvserver).resolve()
    contenders = [clusters.martlet(tools, folder, options.base_port + 100)]
    if not options.skip_etcd:
        contenders.insert(0, clusters.etcd(tools, folder, options.base_port))
    seen = []
    try:
        for cluster in contenders:
            cluster.start_fresh()
        for work in chosen(options.only):
            seen += lines(work, measure(work, contenders, options.rounds))
    finally:
        for cluster in contenders:
            cluster.kill()
        print(report.markdown(seen))
        if options.json:
            Path(options.json).write_text(report.as_json(seen) + "\n")
        if options.svg and any(line.ratio for line in seen):
            Path(options.svg).write_text(report.svg(seen))


if __name__ == "__main__":
    main()

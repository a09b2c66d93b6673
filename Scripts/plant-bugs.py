#!/usr/bin/env python3
"""Copies the sources with every bug of Tests/Mutants planted in them; which one is live is chosen at run time.

Usage: plant-bugs.py TARGET    make the copy in the folder TARGET
       plant-bugs.py --check   only look whether every bug still has its place

See Tests/Mutants/README.md for the format.
"""
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ["RaftCore", "EtcdWire", "KVCore", "DurableLog", "Replica", "Simulation", "kvsim"]
SWITCH = "isPlanted({})"


def bugs():
    """All planted bugs: number, title, and (file, before, after) for each place."""
    found = {}
    for text in sorted((ROOT / "Tests/Mutants").glob("*.txt")):
        for part in re.split(r"^== ", text.read_text(), flags=re.M)[1:]:
            heading, body = part.split("\n", 1)
            number, title = heading.split(" ", 1)
            places = re.findall(r"^-- (\S+)\n<<<\n(.*?)\n===\n(.*?)\n>>>$", body, flags=re.M | re.S)
            if not places:
                sys.exit(f"{text.name}: bug {number} has no place")
            if int(number) in found:
                sys.exit(f"{text.name}: bug {number} stands twice")
            found[int(number)] = (title, places)
    return dict(sorted(found.items()))


def plant(sources, all_bugs):
    """Changes the texts in `sources`, by file name."""
    faults = []
    for number, (title, places) in all_bugs.items():
        for file, before, after in places:
            count = sources[file].count(before)
            if count != 1:
                faults.append(f"bug {number} ({title}): its place stands {count} times in {file}")
                continue
            sources[file] = sources[file].replace(before, after.replace("BUG", SWITCH.format(number)))
    if faults:
        sys.exit("\n".join(faults))


def manifest():
    """The package with one more module, which holds the switch, and only what kvsim needs."""
    text = (ROOT / "Package.swift").read_text()
    text = text.replace("    targets: [\n", '    targets: [\n        .target(name: "Planted"),\n', 1)
    text = text.replace('.target(name: "RaftCore")', '.target(name: "RaftCore", dependencies: ["Planted"])')
    text = text.replace('dependencies: ["CLZ4"]', 'dependencies: ["CLZ4", "Planted"]')
    first_test = text.index("        .testTarget(")
    return text[:first_test] + text[text.index("    ],\n    swiftLanguageModes") :]


def swift_list(all_bugs):
    rows = "\n".join(f'    ({number}, "{title}"),' for number, (title, _) in all_bugs.items())
    return f"""import Foundation

/// Every planted bug.
public let plantedBugs: [(number: Int, title: String)] = [
{rows}
]

private let chosen = Int(ProcessInfo.processInfo.environment["MARTLET_BUG"] ?? "") ?? 0

/// Whether this is the bug that was chosen.
@inline(__always)
public func isPlanted(_ number: Int) -> Bool {{ number == chosen }}
"""


def main():
    all_bugs = bugs()
    sources = {
        str(path.relative_to(ROOT)): path.read_text()
        for module in MODULES
        for path in (ROOT / "Sources" / module).rglob("*.swift")
    }
    original = dict(sources)
    plant(sources, all_bugs)
    if sys.argv[1:] == ["--check"]:
        print(f"{len(all_bugs)} planted bugs have their places")
        return
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = Path(sys.argv[1])
    for file, text in sources.items():
        if text != original[file]:
            text = "import Planted\n" + text
        write(target / file, text)
    for module in MODULES:
        for stale in (target / "Sources" / module).rglob("*.swift"):
            if str(stale.relative_to(target)) not in sources:
                stale.unlink()
    write(target / "Package.swift", manifest())
    write(target / "Sources/Planted/Planted.swift", swift_list(all_bugs))
    shutil.copytree(ROOT / "Sources/CLZ4", target / "Sources/CLZ4", dirs_exist_ok=True)
    # The package names more than kvsim needs.
    others = [ROOT / "Tests/TestSupport", ROOT / "Benchmarks"]
    for folder in [*(ROOT / "Sources").iterdir(), *others]:
        link = target / folder.relative_to(ROOT)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(folder)


def write(path, text):
    """Leaves files alone that are right already, so that a build goes on from the last one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


main()

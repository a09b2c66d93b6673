#!/usr/bin/env bash
# Builds kvsim with every bug of Tests/Mutants planted, lets each loose, and prints which check caught it.
# Arguments go to `kvsim mutants`, for instance: Scripts/mutants.sh --only 17 --seeds 200
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tree=.build-mutants/tree
python3 Scripts/plant-bugs.py "$tree"
swift build --package-path "$tree" --scratch-path .build-mutants/build -c release --product kvsim -Xswiftc -DMUTATIONS
exec .build-mutants/build/release/kvsim mutants "$@"

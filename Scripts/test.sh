#!/usr/bin/env bash
# Sets up what the tests need and runs them all. Its last lines are swift test's own summary.
# Arguments go to `swift test`, for instance: Scripts/test.sh --filter RaftCoreTests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

Scripts/install-packages.sh etcdctl=etcd-client h2load=nghttp2-client

# The foreign Python clients live in an environment of their own.
venv=.build/test-venv
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import etcd3' 2>/dev/null; then
    echo "installing the Python clients"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q 'protobuf<4' grpcio etcd3
fi
export MARTLET_TEST_PYTHON="$PWD/$venv/bin/python"

swift format lint --strict --recursive --parallel --configuration .swift-format \
    Package.swift $(git ls-files 'Sources/**/*.swift' 'Tests/**/*.swift' 'Benchmarks/**/*.swift' | grep -v '/Generated/')

# The simulator's gate: worlds of fixed seeds, power lost at every disk call, planted bugs in place.
# A part of the tests was asked for when there are arguments.
if [ $# -eq 0 ]; then
    python3 Scripts/plant-bugs.py --check
    swift build -c release --product kvsim
    .build/release/kvsim run --from 1 --seeds 1000
    .build/release/kvsim crash-points
    # No hot part may allocate more than it did.
    swift build -c release --product kvmicro
    .build/release/kvmicro --check Benchmarks/Micro/thresholds.txt
fi

# One after the other: tests with real processes measure time, and would disturb one another.
swift test --disable-xctest --no-parallel "$@"

#!/usr/bin/env bash
# Sets up what the tests need and runs them all. Its last lines are swift test's own summary.
# Arguments go to `swift test`, for instance: Scripts/test.sh --filter RaftCoreTests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=()
[ -f /usr/include/lz4frame.h ] || packages+=(liblz4-dev)
command -v etcdctl >/dev/null || packages+=(etcd-client)
command -v h2load >/dev/null || packages+=(nghttp2-client)
if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "sudo apt-get install -y ${packages[*]}"
        exit 2
    fi
    echo "installing ${packages[*]}"
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q "${packages[@]}" >/dev/null
fi

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

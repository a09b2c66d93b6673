#!/usr/bin/env bash
# Martlet beside etcd 3.5.1: sets itself up, runs the same work on both in alternation, prints one table.
#   Benchmarks/compare.sh                     everything; half an hour, and ten to twenty minutes to build what is compared
#   Benchmarks/compare.sh --only put-64x16    one row (repeat the flag for more); --list shows them
#   Benchmarks/compare.sh --json FILE --svg FILE
#   Benchmarks/compare.sh --kvserver FILE     another build of the member
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

Scripts/install-packages.sh h2load=nghttp2-client

Benchmarks/install-etcd.sh
Benchmarks/build-tools.sh

# Files that the options name are looked for where the command was given.
root=$PWD
venv=$root/.build-compare/venv
cd "$here"
PYTHONPATH=$root/Benchmarks exec "$venv/bin/python" -m compare --root "$root" --venv "$venv" "$@"

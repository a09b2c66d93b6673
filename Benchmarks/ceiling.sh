#!/usr/bin/env bash
# What the load generator, the kernel's sockets and the disk allow on this machine, beside Martlet: the same load on three members and on programs
# that do nothing but what no store can leave out (Ceiling/ceiling.c). Five minutes.
#   Benchmarks/ceiling.sh
#   Benchmarks/ceiling.sh --rounds 15
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

Scripts/install-packages.sh h2load=nghttp2-client
# For etcdctl, which compacts between rounds.
Benchmarks/install-etcd.sh
Benchmarks/build-tools.sh
gcc -O2 -Wall -Wextra -Werror -o .build-compare/ceiling Benchmarks/Ceiling/ceiling.c

cd Benchmarks
exec python3 -m compare.ceiling --root .. "$@"

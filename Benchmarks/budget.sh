#!/usr/bin/env bash
# Where the processor's time for one put goes, by step and member, as samples of `perf` tell.
#   Benchmarks/budget.sh                  64 connections × 16 streams
#   Benchmarks/budget.sh --connections 8 --streams 16 --requests 100000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

Scripts/install-packages.sh h2load=nghttp2-client perf=linux-perf
Benchmarks/build-tools.sh

cd Benchmarks
exec python3 -m compare.budget --root .. "$@"

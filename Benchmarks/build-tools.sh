#!/usr/bin/env bash
# Builds what the benchmarks run: a member and the load generator.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mkdir -p .build-compare
for product in kvserver kvload; do
    echo "building $product"
    swift build -c release --product "$product" >.build-compare/build.log 2>&1 ||
        { tail -20 .build-compare/build.log; exit 1; }
done

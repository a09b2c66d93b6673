#!/usr/bin/env bash
# Builds what the benchmarks run: a member, as it is given to others, and the load generator.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

Scripts/build-release.sh
echo "building kvload"
log=.build-release/kvload.log
swift build -c release --product kvload >"$log" 2>&1 || { tail -20 "$log"; exit 1; }

#!/usr/bin/env bash
# Builds kvserver and kvctl to be given to others, into .build-release: they run without Swift on the machine, and kvserver is compiled by what a
# training run says of it. 10 to 20 minutes on 2 cores; nothing, if nothing has changed.
#   Scripts/build-release.sh
#   Scripts/cluster.sh up --bin .build-release     # three nodes of it
# Beside `swift build -c release`: up to 10 % more puts, transactions and reads (docs/decisions.md has the figures).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The build takes long: whoever asked for something else should hear of it at once.
case "${1-}" in
"") ;;
-h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' Scripts/build-release.sh; exit ;;
*) echo "build-release.sh takes no arguments; see --help" >&2; exit 64 ;;
esac

out=$PWD/.build-release
work=$out/work
log=$out/build.log
training_port=28379

say() { printf '%s\n' "$*"; }

# All that the result depends on, the compiler included.
stamp() {
    { swiftc --version 2>&1
      find Package.swift Sources Benchmarks/Load Scripts/build-release.sh -type f -print0 | sort -z |
          xargs -0 sha256sum; } | sha256sum
}

compile() {
    swift build -c release "$@" >>"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; say "the build failed; the whole log is in $log" >&2; exit 1; }
}

# kvserver and kvctl into a build folder of their own, with these options.
build() {
    local scratch=$1 product
    shift
    for product in kvserver kvctl; do compile --product "$product" --scratch-path "$work/$scratch" "$@"; done
}

# Members write their profiles where `train` says; what kvctl has counted is of no use.
export LLVM_PROFILE_FILE=/dev/null
cluster() { Scripts/cluster.sh "$@" --bin "$work/instrumented/release" --dir "$work/cluster" --base-port $training_port; }

endpoint() { cluster status | awk -v role="$1" '$3 == role { sub("http://", "", $NF); print $NF; exit }'; }

load() {
    local role=$1
    shift
    .build/release/kvload run "$@" --endpoint "$(endpoint "$role")" >>"$log"
}

# What a member does most, with as much time for each as it deserves: all that is left out counts as rare, and becomes slower.
train() {
    trap 'cluster down >>"$log"' EXIT
    LLVM_PROFILE_FILE="$work/profiles/%p.profraw" cluster up >>"$log"
    load leader put --connections 8 --streams 16 --keys 100000 --seconds 3
    load leader put --connections 64 --seconds 3
    load leader put --connections 1 --seconds 1
    load leader range --connections 64 --seconds 3
    load leader range --connections 64 --streams 16 --seconds 1
    load leader serializable-range --connections 64 --seconds 1
    load leader txn --connections 8 --streams 16 --seconds 3
    load leader keep-alive --connections 64 --streams 16 --seconds 2
    load follower put --connections 64 --streams 16 --seconds 1
    load follower range --connections 64 --streams 16 --seconds 1
    # A member writes its profile when it ends. The second start has a snapshot to load and a log to apply.
    cluster down >>"$log"
    LLVM_PROFILE_FILE="$work/profiles/%p.profraw" cluster up >>"$log"
    .build/release/kvload watch --watchers 1000 --events 300 --endpoint "$(endpoint leader)" >>"$log"
    "$work/instrumented/release/kvctl" --endpoints "$(endpoint leader)" get "" --prefix >/dev/null
    cluster down >>"$log"
    trap - EXIT
}

toolchain=$(dirname "$(dirname "$(readlink -f "$(command -v swiftc)")")")
runtime=$(find "$toolchain/lib/clang" -name "libclang_rt.profile-$(uname -m).a" | head -n 1)
[ -n "$runtime" ] || { say "this toolchain has no libclang_rt.profile, which writes profiles; use: swift build -c release" >&2; exit 1; }

mkdir -p "$out"
now=$(stamp)
if [ -x "$out/kvserver" ] && [ "$(cat "$out/stamp" 2>/dev/null)" = "$now" ]; then exit 0; fi
# An object file isn't made anew when only the profile is another one.
rm -rf "$work" "$out/stamp"
mkdir -p "$work/profiles"
: >"$log"
Scripts/install-packages.sh

say "1 of 3: a build that counts, 4 to 8 minutes on 2 cores (log: $log)"
compile --product kvload
# The driver knows the flag, but hands it on for single files only.
build instrumented -Xswiftc -Xfrontend -Xswiftc -ir-profile-generate \
    -Xlinker -u__llvm_profile_runtime -Xlinker "$runtime"

say "2 of 3: training on three nodes, half a minute"
train
"$toolchain/bin/llvm-profdata" merge -o "$work/profile" "$work"/profiles/*.profraw >>"$log" 2>&1

say "3 of 3: the build that the profile guides, 4 to 8 minutes"
build guided --static-swift-stdlib -Xswiftc -use-ld=lld \
    -Xswiftc -Xfrontend -Xswiftc -ir-profile-use="$work/profile"
cp "$work"/guided/release/{kvserver,kvctl} "$out"
# What writes a crash's backtrace is looked for beside a program that has Swift's library in itself.
cp "$toolchain/libexec/swift/linux/swift-backtrace-static" "$out/swift-backtrace"
rm -rf "$work"
echo "$now" >"$out/stamp"
say "in $out: kvserver, kvctl, and swift-backtrace, which belongs beside them"

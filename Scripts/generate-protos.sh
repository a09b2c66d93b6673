#!/bin/sh
# Generates Sources/EtcdMessages/Generated from Sources/EtcdMessages/proto.
#
# Needs protoc on PATH. The plug-in is built from the swift-protobuf version below, in a scratch
# folder outside the repository; set PROTOC_GEN_SWIFT to use one that is already there. Run it after
# a change to a .proto file and commit what it writes: an ordinary build needs neither tool.
set -eu

version=1.39.0
root=$(cd "$(dirname "$0")/.." && pwd)
source="$root/Sources/EtcdMessages/proto"
target="$root/Sources/EtcdMessages/Generated"
plugin=${PROTOC_GEN_SWIFT:-}

if [ -z "$plugin" ]; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    git clone --quiet --branch "$version" \
        https://github.com/apple/swift-protobuf.git "$scratch/swift-protobuf"
    swift build --package-path "$scratch/swift-protobuf" -c release --product protoc-gen-swift
    plugin="$scratch/swift-protobuf/.build/release/protoc-gen-swift"
fi

mkdir -p "$target"
rm -f "$target"/*.pb.swift
protoc --proto_path="$source" --plugin=protoc-gen-swift="$plugin" \
    --swift_opt=Visibility=Public --swift_out="$target" "$source"/*.proto

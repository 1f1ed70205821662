#!/bin/sh
# Generates ../Generated from the .proto files beside this script. Run it after every change here and commit both.
#
# Needs protoc (Debian: protobuf-compiler). The two plugins come from PATH, or are built by SwiftPM from the versions
# that the package resolves; protoc's own definitions (google/protobuf/*.proto) come from the same checkout.
set -eu

proto=$(cd "$(dirname "$0")" && pwd)
package=$(cd "$proto/../../.." && pwd)
scratch=${SCRATCH_PATH:-$package/.build}
generated=$proto/../Generated

plugin() {
    if command -v "$1" >/dev/null; then
        command -v "$1"
    else
        swift build --package-path "$package" --scratch-path "$scratch" --product "$1" >&2
        echo "$(swift build --package-path "$package" --scratch-path "$scratch" --show-bin-path)/$1"
    fi
}

messages=$(plugin protoc-gen-swift)
services=$(plugin protoc-gen-grpc-swift-2)

rm -rf "$generated"
mkdir -p "$generated"
cd "$proto"
protoc \
    --proto_path=. \
    --proto_path="$scratch/checkouts/swift-protobuf/Sources/protobuf/include" \
    --plugin=protoc-gen-swift="$messages" \
    --swift_out="$generated" \
    --swift_opt=Visibility=Public,FileNaming=PathToUnderscores,UseAccessLevelOnImports=true \
    --plugin=protoc-gen-grpc-swift="$services" \
    --grpc-swift_out="$generated" \
    --grpc-swift_opt=Visibility=Public,FileNaming=PathToUnderscores,UseAccessLevelOnImports=true \
    $(find . -name '*.proto' | sort)
# A file without a service has nothing in it but its header.
grep -L '^public enum\|^extension' "$generated"/*.grpc.swift | xargs -r rm

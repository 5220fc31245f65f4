#!/bin/sh
# Compiles the BPF programs again and fails when that changes a generated file.
# Each version of clang compiles differently, so only the one that made the
# committed objects can tell. Without it that is said, and with VERIFY_GENERATED=1
# in the environment it is a failure.
set -eu
cd "$(dirname "$0")/.."
version=14 # Debian 12

# Debian's clang-14 is not called clang outside its own directory.
if other=$(command -v "clang-$version"); then
	PATH=$(dirname "$(readlink -f "$other")"):$PATH
fi
have=$(clang -dumpversion 2>/dev/null | cut -d. -f1 || true)
if [ "$have" != "$version" ] || ! command -v llvm-strip >/dev/null || ! [ -e /usr/include/bpf/bpf_helpers.h ]; then
	echo "verify: generated files are not compared: that needs clang and llvm $version with libbpf's headers (make deps-generate), and here is clang ${have:-none}"
	[ "${VERIFY_GENERATED:-}" != 1 ] || exit 1
	exit 0
fi

sums() { find bpf \( -name '*_bpfe[lb].go' -o -name '*_bpfe[lb].o' \) -exec sha256sum {} + | sort -k2; }
before=$(sums)
go generate ./bpf/...
after=$(sums)
if [ "$before" != "$after" ]; then
	echo "verify: generated files were out of date; they are not any more, commit them:" >&2
	git status --short bpf >&2 || true
	exit 1
fi

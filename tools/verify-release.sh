#!/bin/sh
# Makes the release of the last commit (with changes to its files that are not
# committed) in two new clones, and fails unless all their bytes are the same.
#
#	tools/verify-release.sh [VARIABLE=VALUE...]
#
# The arguments are for make. The second clone has an empty build cache, or with
# WARM=1 in the environment the same one, which is faster and proves less.
set -eu
here=$(git rev-parse --show-toplevel)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
commit=$(git -C "$here" stash create)
commit=${commit:-$(git -C "$here" rev-parse HEAD)}

for clone in first "a second one, elsewhere"; do
	[ "$clone" = first ] || umask 077 # nor may this matter
	git clone --quiet --no-checkout "$here" "$work/$clone"
	git -C "$work/$clone" fetch --quiet "$here" "$commit"
	git -C "$work/$clone" -c advice.detachedHead=false checkout --quiet "$commit"
	if [ "$clone" != first ] && [ -z "${WARM:-}" ]; then
		GOCACHE=$work/cache
		export GOCACHE
	fi
	make -s -C "$work/$clone" release "$@" >&2
done
diff -r "$work/first/dist/release" "$work/a second one, elsewhere/dist/release"
(cd "$work/first/dist/release" && sha256sum --quiet --check SHA256SUMS)
echo "two builds of $commit are the same: $(wc -l <"$work/first/dist/release/SHA256SUMS") files"

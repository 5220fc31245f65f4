#!/bin/sh
# Publishes dist/release as version $1: pushes the images, and makes a GitHub
# release of the other files. Needs skopeo and gh, and GH_TOKEN in the environment
# with the right to write packages and releases. A version is never overwritten;
# one that was published in part is completed with the same bytes.
set -eu
cd "$(dirname "$0")/.."
version=${1:?the version}
release=dist/release
registry=ghcr.io/kubectl-retina

case $version in
*-dev) echo "publish: $version is not a release" >&2; exit 1 ;;
esac
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
there=$scratch/there
ours=$scratch/ours
already() {
	echo "publish: $1 is there already, with other bytes" >&2
	exit 1
}

(cd "$release" && sha256sum --quiet --check SHA256SUMS)

printf %s "$GH_TOKEN" | skopeo login --username "${GITHUB_ACTOR:-kubectl-retina}" --password-stdin ghcr.io
for image in retina-collector kubectl-retina; do
	archive=$release/${image}_${version}_image.tar
	if skopeo inspect --raw "docker://$registry/$image:$version" >"$there" 2>/dev/null; then
		skopeo inspect --raw "oci-archive:$archive" >"$ours"
		cmp -s "$there" "$ours" || already "$registry/$image:$version"
		continue
	fi
	skopeo copy --all --preserve-digests "oci-archive:$archive" "docker://$registry/$image:$version"
done

# gh publishes a release when it has all its files; until then it is a draft.
case $(gh release view "$version" --json isDraft --jq .isDraft 2>/dev/null || true) in
false)
	gh release download "$version" --pattern SHA256SUMS --output "$there" --clobber
	cmp -s "$there" "$release/SHA256SUMS" || already "release $version"
	echo "publish: release $version is complete"
	exit 0
	;;
true) gh release delete "$version" --yes ;;
esac
case $version in
*-*) set -- --prerelease ;;
*) set -- ;;
esac
gh release create "$version" "$@" --verify-tag --title "$version" --notes-file CHANGELOG.md "$release"/*

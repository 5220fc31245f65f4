#!/bin/sh
# Publishes dist/release as version $1: pushes the images, and makes a GitHub
# release of the other files. Needs skopeo and gh, and GH_TOKEN in the environment
# with the right to write packages and releases. A version is never overwritten.
set -eu
cd "$(dirname "$0")/.."
version=${1:?the version}
release=dist/release
registry=ghcr.io/kubectl-retina

case $version in
*-dev) echo "publish: $version is not a release" >&2; exit 1 ;;
esac
(cd "$release" && sha256sum --quiet --check SHA256SUMS)

printf %s "$GH_TOKEN" | skopeo login --username "${GITHUB_ACTOR:-kubectl-retina}" --password-stdin ghcr.io
for image in retina-collector kubectl-retina; do
	archive=$release/${image}_${version}_image.tar
	if skopeo inspect --raw "docker://$registry/$image:$version" >/dev/null 2>&1; then
		echo "publish: $registry/$image:$version is there already" >&2
		exit 1
	fi
	skopeo copy --all --preserve-digests "oci-archive:$archive" "docker://$registry/$image:$version"
done
gh release create "$version" --verify-tag --title "$version" --notes-file CHANGELOG.md "$release"/*

#!/bin/sh
# Installs the Debian packages that the tests, the e2e cluster, `make demo` and
# `make bench` use, as far as they are missing. docs/dependencies.md says what
# each is for. Says nothing when nothing is missing.
set -eu

packages="
tshark wireshark-common tcpdump
containerd runc containernetworking-plugins etcd-server
iproute2 iptables conntrack ethtool kmod util-linux
"

missing=""
for package in $packages; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "deps: this is not Debian; install what these packages hold:$missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps: needs root to install:$missing" >&2
	exit 1
fi
echo "deps: installing$missing" >&2
# wireshark-common asks whether all users may capture; the default, no, is right here.
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -qq -o DPkg::Lock::Timeout=300"
$apt update
# shellcheck disable=SC2086 # a list of words
$apt install -y --no-install-recommends $missing >/dev/null

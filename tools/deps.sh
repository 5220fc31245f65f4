#!/bin/sh
# Installs the Debian packages that tests and benchmarks use, as far as they are
# missing, and says nothing when none is. What the e2e cluster needs it knows
# itself: go run ./e2e/cluster deps. With the argument kernels it installs what
# make test-kernels uses instead, and with generate what make generate uses.
set -eu

packages="
tshark wireshark-common tcpdump
iproute2 prometheus tmux
"

kernel_packages="
qemu-system-x86 busybox-static debian-archive-keyring
iproute2 iptables nftables procps xz-utils
"

generate_packages="
clang-14 llvm-14 libbpf-dev linux-libc-dev
"
case ${1:-} in
kernels) packages=$kernel_packages ;;
generate) packages=$generate_packages ;;
esac

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
# The tests start a Prometheus of their own; Debian's is a service that listens.
case " $missing " in *" prometheus "*)
	if command -v systemctl >/dev/null; then systemctl disable --now prometheus >/dev/null 2>&1 || true; fi ;;
esac

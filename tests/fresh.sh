#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# fresh.sh [DIRECTORY]: what a new user sees, on a Debian 12 that has nothing but git and make. Root only, needs a mirror of
# Debian and takes half an hour; not a part of `make test`.
#
# A debootstrap'd root below DIRECTORY (a temporary one by default, removed afterwards), entered with mount and pid
# namespaces of its own; the last commit of this repository is cloned into it. Then: `make demo` as an ordinary user, who
# may not install anything, says what is missing; `make demo` and `make test` as root install it and pass.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || { echo "fresh: needs root, for debootstrap and mounts" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "fresh: apt-get install debootstrap" >&2; exit 2; }

if [ $# -gt 0 ]; then
	mkdir -p "$1"
	root=$(cd "$1" && pwd)/debian
else
	work=$(mktemp -d)
	trap 'rm -rf --one-file-system "$work"' EXIT
	root=$work/debian
fi
if [ ! -e "$root/usr/bin/git" ]; then
	debootstrap --variant=minbase --include=git,make,ca-certificates bookworm "$root" >"$root.log" 2>&1 ||
		{ tail -n 5 "$root.log" >&2; exit 1; }
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
for settings in /etc/apt/apt.conf.d/*; do # proxies and the like
	grep -q 'Acquire::' "$settings" && cp "$settings" "$root/etc/apt/apt.conf.d/"
done
rm -rf "$root/home/new/cleave"
mkdir -p "$root/home/new"
git clone -q --no-hardlinks "$top" "$root/home/new/cleave"
chown -R 65534:65534 "$root/home/new"

# The rest runs in there, as process 1 of its own.
exec_inside='
set -eu
mount --bind "$1" "$1"
mount --rbind /dev "$1/dev"
mount --rbind /sys "$1/sys"
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=755 tmpfs "$1/run"
cd "$1"
mkdir -p old
pivot_root . old
umount -l old
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb bash -euc "$2"'
steps='
cd /home/new/cleave
git config --global --add safe.directory "*"
echo "== make demo, as a user who may not install anything"
apt-get update -q >/dev/null
if setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/home/new make demo >said 2>&1; then
	echo "fresh: it went on without what it needs" >&2; exit 1
fi
grep "apt-get install" said
rm said
echo "== make demo, as root"
chown -R 0:0 .
make demo
echo "== make test, as root"
make test
echo "fresh: ok"'
unshare --mount --pid --fork --kill-child --propagation private bash -c "$exec_inside" fresh "$root" "$steps"

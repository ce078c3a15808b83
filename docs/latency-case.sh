#!/bin/bash
# A service that is slow and never killed, made here: docs/latency.md follows it
# from symptom to cause. An api reads its 40 MiB index over and over; a backup
# reads an archive once, a little at a time. Both are below one limit of 56 MiB,
# like containers of one pod. Leaves nothing behind.
#
# usage: docs/latency-case.sh [OOMTRACE [flags of oomtrace latency]]     (root; LIMIT_MIB=72 sets another limit)
set -euo pipefail

oomtrace=${1:-oomtrace}
shift || true
limit=$((${LIMIT_MIB:-56} << 20))

files=$(mktemp -d "${TMPDIR:-/var/tmp}/oomtrace-case.XXXXXX")
if [ -d /sys/fs/cgroup/memory ]; then
	root=/sys/fs/cgroup/memory
else
	root=/sys/fs/cgroup
	echo +memory > $root/cgroup.subtree_control
fi
pod=$root/oomtrace-case-$$
workers=()

cleanup() {
	[ ${#workers[@]} -eq 0 ] || kill "${workers[@]}" 2> /dev/null || true
	wait
	for group in "$pod/api" "$pod/backup" "$pod"; do
		for try in $(seq 100); do # until the last process is reaped
			[ ! -d "$group" ] || rmdir "$group" 2> /dev/null || { sleep 0.05; continue; }
			break
		done
	done
	rm -rf "$files"
}
trap cleanup EXIT

mkdir "$pod"
if [ -f "$pod/memory.max" ]; then
	echo $limit > "$pod/memory.max"
	echo 0 > "$pod/memory.swap.max" 2> /dev/null || true
	echo +memory > "$pod/cgroup.subtree_control"
else
	echo $limit > "$pod/memory.limit_in_bytes"
fi
mkdir "$pod/api" "$pod/backup"

# Written outside of the pod, and dropped from the page cache, so that the first
# to read them in the pod is charged for them.
head -c 40M /dev/urandom > "$files/index.db"
head -c 384M /dev/zero > "$files/archive.tar"
sync "$files/index.db" "$files/archive.tar"
dd if="$files/index.db" iflag=nocache count=0 status=none
dd if="$files/archive.tar" iflag=nocache count=0 status=none

api() {
	echo $BASHPID > "$pod/api/cgroup.procs"
	while :; do
		began=$EPOCHREALTIME
		cat "$files/index.db" > /dev/null
		ended=$EPOCHREALTIME
		echo $((${ended/[.,]/} - ${began/[.,]/})) >> "$files/requests"
		sleep 0.02
	done
}

backup() {
	echo $BASHPID > "$pod/backup/cgroup.procs"
	for at in $(seq 0 2 382); do
		dd if="$files/archive.tar" of=/dev/null bs=1M skip="$at" count=2 status=none
		sleep 0.05
	done
}

# Half of the requests took longer than this, in microseconds.
median() {
	sort -n "$files/requests" | awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }'
}

api &
workers+=($!)
sleep 4
echo "api alone: a request takes $(median) µs" >&2
: > "$files/requests"
backup &
workers+=($!)
"$oomtrace" latency --cgroup "$pod" --duration 8s "$@"
echo "beside the backup: a request takes $(median) µs" >&2

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# demo.sh [CLEAVE]: what it can do, in less than a minute. Each part ends the demo when it does not
# behave as told; the last line is `demo: ok`.
set -eu
cd "$(dirname "$0")/.."
cleave=$(realpath "${1:-build/cleave}")
here=$PWD/examples

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '\033[2m$ %s\033[0m\n' "$*"; }
fail() { echo "demo: FAILED: $*" >&2; exit 1; }
field() { /usr/bin/python3 -c 'import json, sys; v = json.load(sys.stdin)
for k in sys.argv[1].split("."): v = v[k]
print(json.dumps(v))' "$1"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "what this host offers"
show cleave doctor
status=0
"$cleave" doctor >"$work/doctor" || status=$?
[ $status -le 1 ] || fail "doctor ended with $status"
"$cleave" doctor --json >"$work/doctor.json" || true
/usr/bin/python3 - "$work/doctor.json" <<'PYTHON'
import json, sys
layers = json.load(open(sys.argv[1]))["layers"]
on = [name for name, l in layers.items() if l["state"] == "on"]
print(f"{len(on)} of {len(layers)} layers are on:", " ".join(on))
for name, l in layers.items():
    if l["state"] != "on":
        print(f"  {name}: {l['state']}: {l['remedy']}")
PYTHON

say "a Python script with pandas; it sees its own file and nothing of yours"
show cleave run --ro examples/sales.py:/home/user/sales.py python3 sales.py
"$cleave" run --ro "$here/sales.py:/home/user/sales.py" python3 sales.py

say "compile and run a C program"
show "cleave run --file examples/hello.c:/home/user/hello.c sh -c 'gcc -O2 hello.c -o hello && ./hello'"
"$cleave" run --file "$here/hello.c:/home/user/hello.c" sh -c 'gcc -O2 hello.c -o hello && ./hello'

# Where no controller is delegated to us the two limits below can't be kept; cleave says so rather than start.
limits() {
	/usr/bin/python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["layers"][sys.argv[2]]["state"])' "$work/doctor.json" "$1"
}

say "a fork bomb, stopped by --pids and --timeout"
bomb='bomb() { bomb | bomb & }; bomb; sleep 60'
if [ "$(limits cgroup_pids)" = on ]; then
	show "cleave run --pids 64 --timeout 2 bash -c '$bomb'"
	status=0
	"$cleave" run --pids 64 --timeout 2 --json="$work/bomb.json" bash -c "$bomb" >/dev/null 2>"$work/bomb.err" || status=$?
	tail -n 1 "$work/bomb.err"
	[ $status = 124 ] || fail "the fork bomb ended with $status, not 124"
	echo "most processes at once: $(field pids_peak <"$work/bomb.json"); status $status"
else
	echo "(no cgroup with pids here: skipped; see doctor above)"
fi

say "too much memory, stopped by --memory 64M; the result as JSON"
hog='x = []
while True: x.append(bytearray(1 << 20))'
if [ "$(limits cgroup_memory)" = on ]; then
	show "cleave run --memory 64M --json python3 -c '...'"
	status=0
	"$cleave" run --memory 64M --json python3 -c "$hog" >"$work/hog.json" || status=$?
	[ $status = 137 ] || fail "the hog ended with $status, not 137"
	for name in status exit_code signal cleave_status wall_ns memory_peak_bytes oom_kills limits.memory; do
		echo "  $name: $(field $name <"$work/hog.json")"
	done
else
	echo "(no cgroup with memory here: skipped; see doctor above)"
fi

say "the host's files: tried and absent"
secret=$work/secret
echo "the host's secret" >"$secret"
script='for f in '"$secret"' /etc/shadow /root /home/* /var/lib /sys/kernel /proc/1/root/etc/shadow; do
	[ "$f" = /home/user ] && continue
	if cat "$f" >/dev/null 2>&1 || ls "$f"/* >/dev/null 2>&1; then echo "REACHED $f"; else echo "  absent or closed: $f"; fi
done'
show "cleave run bash -c 'cat $secret; ls /root ...'"
"$cleave" run bash -c "$script" | tee "$work/files"
grep -q 'absent or closed' "$work/files" || fail "nothing was tried"
! grep -q REACHED "$work/files" || fail "a file of the host was reached"

echo
say "a sandbox that loaded a data frame once, forked twenty times while it runs"
show "cleave start frame python3 frame.py; cleave fork frame -n 20; cleave attach -i frame-7 ..."
/usr/bin/python3 "$here/fork_demo.py" "$cleave" 20 || fail "the forks"

echo "demo: ok"

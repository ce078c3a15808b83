#!/bin/sh
# Runs a test binary in a guest, and what fails in it once more by itself: on an
# emulated CPU that others share, time passes unevenly. What fails twice has failed.
# Its output goes through a file: processes that a crashed test has left behind
# would hold a pipe open.
dir=${TMPDIR:-/tmp}
: > "$dir/output" # there when tail looks for it
"$@" >> "$dir/output" 2>&1 &
tests=$!
tail -n +1 -f "$dir/output" &
shown=$!
wait $tests
status=$?
sleep 2 # tail looks once a second
kill $shown
if [ "$status" = 0 ] || grep -Eq '^(panic|fatal error): ' "$dir/output"; then
	exit "$status"
fi
# The innermost of what failed: a line of it is not followed by one of its parts.
failed=$(sed -n 's/^ *--- FAIL: \([^ ]*\) .*/\1/p' "$dir/output" |
	awk 'NR > 1 && index($0, last "/") != 1 { print last } { last = $0 } END { print last }')
[ -n "$failed" ] || exit "$status"
status=0
for name in $failed; do
	echo "== once more: $name"
	"$@" -test.run "$(echo "$name" | sed 's/[][().*+?{}|\\^]/\\&/g; s|/|$/^|g; s/^/^/; s/$/$/')" || status=1
done
exit $status

#!/bin/sh
# Runs a test binary in a guest, and what fails in it once more by itself: on an
# emulated CPU that others share, time passes unevenly. What fails twice has failed.
# Its output goes through a file: processes that a crashed test has left behind
# would hold a pipe open.
dir=${TMPDIR:-/tmp}
"$@" > "$dir/output" 2>&1 &
tests=$!
tail -n +1 -f "$dir/output" &
shown=$!
wait $tests
status=$?
sleep 2 # tail looks once a second
kill $shown
failed=$(sed -n 's/^--- FAIL: \([A-Za-z0-9_]*\) .*/\1/p' "$dir/output" | tr '\n' '|')
if [ "$status" = 0 ] || [ -z "$failed" ] || grep -Eq '^(panic|fatal error): ' "$dir/output"; then
	exit "$status"
fi
echo "== once more: ${failed%|}"
exec "$@" -test.run "^(${failed%|})\$"

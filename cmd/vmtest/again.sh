#!/bin/sh
# Runs a test binary in a guest, and what fails in it once more by itself: on an
# emulated CPU that others share, time passes unevenly. What fails twice has failed.
dir=${TMPDIR:-/tmp}
{ "$@"; echo $? > "$dir/status"; } 2>&1 | tee "$dir/output"
status=$(cat "$dir/status")
failed=$(sed -n 's/^--- FAIL: \([A-Za-z0-9_]*\) .*/\1/p' "$dir/output" | tr '\n' '|')
if [ "$status" = 0 ] || [ -z "$failed" ] || grep -q '^panic: ' "$dir/output"; then
	exit "$status"
fi
echo "== once more: ${failed%|}"
exec "$@" -test.run "^(${failed%|})\$"

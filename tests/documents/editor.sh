#!/bin/sh
# The reader's editor: applies the first line of ~reader/edits, a sed script, to the file, and removes that line.
set -eu
edits=/home/reader/edits
change=$(head -n 1 "$edits")
[ -n "$change" ] || {
  echo "editor: the document does not say what to change in $1" >&2
  exit 1
}
sed -i 1d "$edits"
[ -s "$1" ] || echo >"$1" # sed needs a line
sed -E "$change" "$1" >"$1.changed"
if cmp -s "$1" "$1.changed"; then
  echo "editor: $change changes nothing in $1" >&2
  exit 1
fi
cat "$1.changed" >"$1"
rm "$1.changed"

#!/bin/sh
# usage: tests/valgrind/run.sh BUILD [FILTER]
# Runs end-to-end tests with the responder under valgrind's memcheck. After an error or a leak the responder's exit
# code is 99, and the tests expect 0. The reports are printed at the end.
set -eu

build=$(cd "$1" && pwd)
# The excluded test measures memory, and under valgrind most of it is valgrind's own.
filter=${2:-Stream.*:Cancel.*:Errors.*:Retries.*:Tls.*:FastCgi.*:Drain.*:Reload.*:Routes.*-FastCgi.NonsenseCostsNoMemory}
here=$(cd "$(dirname "$0")" && pwd)
work=$(dirname "$build")/valgrind

rm -rf "$work"
mkdir -p "$work"
# The tests start the programs in their own folder.
ln "$build/e2e_tests" "$build/simulator" "$work"
cat >"$work/bailian-fcgi" <<END
#!/bin/sh
exec valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible \
  --show-leak-kinds=definite,possible --num-callers=30 --suppressions='$here/valgrind.supp' \
  --log-file='$work/memcheck-%p.log' '$build/bailian-fcgi' "\$@"
END
chmod +x "$work/bailian-fcgi"

status=0
E2E_SLOW=yes FILTER=$filter "$here/../shards.sh" "$work/e2e_tests" || status=$?
for log in "$work"/memcheck-*.log; do
  [ -s "$log" ] || continue
  echo "--- $log"
  cat "$log"
  status=1
done
exit $status

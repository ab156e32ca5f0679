#!/bin/sh
# usage: tests/valgrind/run.sh BUILD [FILTER]
# End-to-end tests with the responder under valgrind's memcheck. An error or a leak is the exit code 99 of the
# responder, which the tests expect to be 0; what was found is shown at the end.
set -eu

build=$(cd "$1" && pwd)
# One of the tests measures memory, which here is valgrind's.
filter=${2:-Stream.*:Cancel.*:Errors.*:Retries.*:Tls.*:FastCgi.*:Drain.*:Reload.*:Routes.*-FastCgi.NonsenseCostsNoMemory}
here=$(cd "$(dirname "$0")" && pwd)
work=$(dirname "$build")/valgrind

rm -rf "$work"
mkdir -p "$work"
# The tests start the programs that lie beside them.
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

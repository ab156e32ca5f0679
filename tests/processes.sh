# shellcheck shell=bash disable=SC2034,SC2154 # the script has variables, and reads those of this file
# Processes of a test script that sources this, has a folder $work and can die.

patience=60 # seconds; an upper bound against hanging, never an expectation
pids=()     # in the order of start
declare -A pid_of
started='' # the line that said the last one was ready

start() { # NAME READY_PATTERN COMMAND...
  local name=$1 ready=$2 log line
  mkfifo "$work/$name.pipe"
  # Should the script be killed outright, the kernel ends them.
  setsid setpriv --pdeathsig TERM "${@:3}" >"$work/$name.pipe" 2>&1 </dev/null &
  pids+=($!)
  pid_of[$name]=$!
  exec {log}<"$work/$name.pipe"
  while read -r -t $patience -u "$log" line; do
    printf '%s\n' "$line" >>"$work/$name.log"
    if [[ $line =~ $ready ]]; then
      cat <&"$log" >>"$work/$name.log" &
      exec {log}<&-
      started=$line
      return
    fi
  done
  tail -n 20 "$work/$name.log" >&2 || true
  die "$name does not start"
}

await_end() { # PID [SECONDS], of any process
  timeout "${2:-$patience}" tail -s 0.05 --pid="$1" -f /dev/null
}

# shellcheck disable=SC2317 # an EXIT trap calls it
stop_processes() {
  local i
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill -TERM "${pids[i]}" 2>/dev/null || continue
    # A system that hangs while it ends is ended.
    await_end "${pids[i]}" 30 || kill -KILL "${pids[i]}"
    wait "${pids[i]}" 2>/dev/null || true
  done
}

# Ends a script that counted its tests in $passed and ${failed[@]}, with the last lines of tests/shards.sh.
sum_up() {
  if ((${#failed[@]})); then printf '  failed: %s\n' "${failed[@]}"; fi
  echo "$passed passed, ${#failed[@]} failed, 0 skipped in $SECONDS s"
  if ((${#failed[@]})); then exit 1; fi
}

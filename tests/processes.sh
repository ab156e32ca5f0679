# shellcheck shell=bash disable=SC2034,SC2154 # the script has variables, and reads those of this file
# Processes and checks of a test script, which sources this file, has a folder $work and a function die.

patience=60 # seconds; an upper bound against hanging, never an expectation
pids=()     # in the order of start
declare -A pid_of
started='' # the line that said the last one was ready

start() { # NAME READY_PATTERN COMMAND...
  local name=$1 ready=$2 log line
  mkfifo "$work/$name.pipe"
  # If the script is killed, the kernel ends them.
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
    # A system that hangs in its shutdown is killed.
    await_end "${pids[i]}" 30 || kill -KILL "${pids[i]}"
    wait "${pids[i]}" 2>/dev/null || true
  done
}

passed=0 failed=() has_failed=

expect() { # WHAT EXPECTED ACTUAL
  if [[ $2 == "$3" ]]; then return; fi
  printf '%s\n  expected: %.2000s\n  found:    %.2000s\n' "$1" "$2" "$3"
  has_failed=yes
}

# Runs a function whose name states the claim it tests. When it fails, calls show_failure if the script has one.
run_test() { # NAME
  has_failed=
  echo "[ RUN      ] $1"
  "$1"
  if [[ $has_failed ]]; then
    failed+=("$1")
    if declare -F show_failure >/dev/null; then show_failure; fi
    echo "[  FAILED  ] $1"
  else
    passed=$((passed + 1))
    echo "[       OK ] $1"
  fi
}

# Ends the script. Prints the same last lines as tests/shards.sh.
sum_up() {
  if ((${#failed[@]})); then printf '  failed: %s\n' "${failed[@]}"; fi
  echo "$passed passed, ${#failed[@]} failed, 0 skipped in $SECONDS s"
  if ((${#failed[@]})); then exit 1; fi
}

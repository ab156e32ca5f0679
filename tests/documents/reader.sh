# shellcheck shell=bash
# The functions of the scripts that document.py makes: the reader inside the system. The first failure ends a script.
set -uo pipefail
LONG=${LONG:-}
export PATH=/usr/lib/ccache:$PATH CCACHE_DIR=/var/cache/ccache CCACHE_UMASK=000 CCACHE_COMPILERCHECK=content
export EDITOR=/usr/local/bin/editor SUDO_EDITOR=/usr/local/bin/editor SYSTEMD_EDITOR=/usr/local/bin/editor
patience=120 # seconds; an upper bound against hanging, never an expectation
work=$(mktemp -d)
printed=$work/printed
ran=0 skipped=0
declare -A stays_pid stays_output

fail() { # PLACE WHAT
  printf '%s: %s\n' "$1" "$2"
  exit 1
}

step() { # PLACE COMMAND
  printf '\n%s $ %s\n' "$1" "$2"
  local status=0 workers='' worker
  # A human is too slow to meet nginx's old workers; the script waits until they have exited.
  case $2 in *'reload nginx'* | *'nginx -s reload'*) workers=$(cat "/proc/$(cat /run/nginx.pid)/task/"*/children) ;; esac
  case $2 in
    # It requires a terminal.
    'sudo systemctl edit'*) script -qefc "$2" "$printed" >/dev/null </dev/null || status=$? ;;
    *) eval "$2" >"$printed" 2>&1 </dev/null || status=$? ;;
  esac
  tail -n 60 "$printed"
  ((!status)) || fail "$1" "exit code $status: $2"
  for worker in $workers; do timeout $patience tail -s 0.05 --pid="$worker" -f /dev/null || fail "$1" 'an old worker of nginx does not end'; done
  ran=$((ran + 1))
}
run() { step "$@"; }

stays() { # PLACE PATTERN COMMAND
  printf '\n%s $ %s &\n' "$1" "$3"
  local output
  output=$(mktemp -p "$work")
  set -m
  eval "$3" >"$output" 2>&1 </dev/null &
  set +m
  stays_pid[$3]=$! stays_output[$3]=$output
  grep -qm 1 -E -e "$2" < <(timeout 600 tail -n +1 -f --pid=$! "$output") || { cat "$output" && fail "$1" "ends without \"$2\": $3"; }
  cp "$output" "$printed"
  cat "$printed"
  ran=$((ran + 1))
}

stop() { # PLACE COMMAND
  local command pid status=0
  for command in "${!stays_pid[@]}"; do
    [[ $command == "$2"* ]] || continue
    pid=${stays_pid[$command]}
    unset "stays_pid[$command]"
    # Ctrl-C reaches all processes in the terminal's foreground group.
    sudo sh -c "kill -INT -$pid" || fail "$1" "has ended already: $command"
    wait "$pid" || status=$?
    cat "${stays_output[$command]}"
    ((status == 0 || status == 130)) || fail "$1" "exit code $status after Ctrl-C: $command"
    return
  done
  fail "$1" "does not run: $2"
}

skip() { # PLACE REASON...
  printf '\n%s is skipped: %s\n' "$1" "$2"
  skipped=$((skipped + 1))
}

edit() { # PLACE SED
  printf '%s\n' "$2" >>~/edits
}

file() { # PLACE TEXT PATH
  printf '\n%s is %s\n' "$1" "$3"
  sudo mkdir -p "${3%/*}"
  sudo tee "$3" <<<"$2" || fail "$1" "cannot write $3"
  ran=$((ran + 1))
}

append() { # PLACE TEXT PATH
  printf '\n%s is added to %s\n' "$1" "$3"
  sudo tee -a "$3" <<<"$2" || fail "$1" "cannot write $3"
  ran=$((ran + 1))
}

insert() { # PLACE TEXT PATH PATTERN
  printf '\n%s goes into %s after the line %s\n' "$1" "$3" "$4"
  local line
  line=$(grep -nm 1 -E -e "$4" "$3") || fail "$1" "$3 has no line $4"
  sudo sed -i "${line%%:*}r /dev/stdin" "$3" <<<"$2" || fail "$1" "cannot write $3"
  ran=$((ran + 1))
}

expect() { # PLACE PATTERN
  grep -qE -e "$2" "$printed" || { cat "$printed" && fail "$1" "printed no \"$2\""; }
}

output() { # PLACE TEXT
  local line pattern
  while IFS= read -r line; do
    [[ $line ]] || continue
    pattern=$(sed 's/[][\.*^$+?(){}|/]/\\&/g; s/\\\.\\\.\\\./.*/g' <<<"$line")
    grep -qxE -e "$pattern" "$printed" || { cat "$printed" && fail "$1" "was not printed: $line"; }
  done <<<"$2"
}

members() { # PLACE TEXT COMMAND
  eval "$3" >"$printed" 2>&1 </dev/null || { cat "$printed" && fail "$1" "exit code $?: $3"; }
  names() { grep -o '"[A-Za-z_]*" *:' | sort -u; }
  [[ $(names <"$printed") == "$(names <<<"$2")" ]] || { cat "$printed" && fail "$1" 'shows other members'; }
  ran=$((ran + 1))
}

finish() { # DOCUMENT
  local command
  for command in "${!stays_pid[@]}"; do stop "$1" "$command"; done
  [[ ! -s ~/edits ]] || fail "$1" "edits that no command asked for: $(<~/edits)"
  printf '\nall of %s: %s done, %s skipped\n' "$1" "$ran" "$skipped"
}

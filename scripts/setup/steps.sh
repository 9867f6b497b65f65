# shellcheck shell=bash
# How set-up runs long work and shows it; sourced by setup.sh.
# A track is a function that runs in the background, step after step; tracks run beside each other. The output of a step is in
# .venv/log/STEP.log, what a track is at in .venv/log/TRACK.now (its step, the step's text, when it began, a note).

logs=.venv/log
terminal=
if [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; then terminal=yes; fi
declare -A tracks=()

# A line that stays; on a terminal above the line of progress.
say() { if [ -n "$terminal" ]; then printf '\r\033[K%s\n' "$*" >&2; else printf '%s\n' "$*" >&2; fi; }

# fail CODE TEXT: end with a line that says what to do.
fail() {
  say "setup.sh: $2"
  exit "$1"
}

# step NAME TEXT COMMAND...: run a command of this track; says how long it took, or how it failed and where its output is.
step() {
  local name=$1 text=$2 began=$SECONDS code=0
  shift 2
  at "$name" "$text" "$began"
  [ -n "$terminal" ] || say "$text …"
  : > "$logs/$name.log"
  "$@" 3>&2 >> "$logs/$name.log" 2>&1 < /dev/null || code=$? # 3: for lines that people read
  if [ "$code" = 0 ]; then
    say "$text: $((SECONDS - began)) s"
  else
    say "$text: given up after $((SECONDS - began)) s"
    grep -v '^scripts/setup/.* line ' "$logs/$name.log" | tail -n 8 | sed 's/^/    /' > "$logs/$track.failed"
    printf '%s\n' "The whole output is in $logs/$name.log." >> "$logs/$track.failed"
  fi
  return "$code"
}

# at STEP TEXT BEGAN [NOTE]: what this track is at, for the line of progress.
at() { printf '%s\n' "$1" "$2" "$3" "${4:-}" > "$logs/$track.now"; }

# counted STEP FORMAT: how far a step is, where a function count_STEP knows it.
counted() {
  local count
  declare -F "count_$1" > /dev/null || return 0
  count=$("count_$1" "$logs/$1.log")
  # shellcheck disable=SC2059
  [ -z "$count" ] || printf "$2" "$count"
}

# run TRACK...: run tracks beside each other until all have ended. Where one fails, the others still finish what they are at.
run() {
  local track code failed=0
  for track in "$@"; do start "$track"; done
  while [ -n "$(jobs -rp)" ]; do
    draw "$@"
    keep_rights
    sleep 0.3
  done
  [ -z "$terminal" ] || printf '\r\033[K' >&2
  for track in "$@"; do
    code=0
    wait "${tracks[$track]}" || code=$?
    [ "$failed" != 0 ] || failed=$code
    unset "tracks[$track]"
    if [ -s "$logs/$track.failed" ]; then say "$(cat "$logs/$track.failed")"; fi
  done
  [ "$failed" = 0 ] || exit "$failed"
}

# In a process group of its own, so that Ctrl-C does not reach dpkg in the middle of its work.
start() {
  rm -f "$logs/$1.now" "$logs/$1.failed"
  set -m
  ( set +m; trap - INT TERM HUP; track=$1; "$1" ) &
  set +m
  tracks[$1]=$!
}

# The line of progress: what every track is at, how far, for how long. On a terminal only, and never longer than its line.
draw() {
  local track line='' name text began note since=$SECONDS
  [ -n "$terminal" ] || return 0
  for track in "$@"; do
    kill -0 "${tracks[$track]}" 2> /dev/null && [ -s "$logs/$track.now" ] || continue
    { read -r name && read -r text && read -r began && read -r note; } < "$logs/$track.now" || continue
    [ -n "$note" ] || note=$(counted "$name" %s)
    line+="${line:+  ·  }$text${note:+: $note}"
    since=$((began < since ? began : since))
  done
  [ -n "$line" ] || return 0
  line+="  ·  $((SECONDS - since)) s"
  printf '\r\033[K%s' "${line:0:$(($(columns) - 1))}" >&2
}

columns() {
  local size
  size=$(stty size <&2 2> /dev/null) && [ "${size#* }" -gt 20 ] 2> /dev/null && printf '%s' "${size#* }" || printf 80
}

# wait_until TEXT CODE COMMAND...: try again until the command succeeds; gives up with CODE after SETUP_WAIT_S seconds.
# TEXT is a function that says what is waited for.
wait_until() {
  local text=$1 code=$2 began=$SECONDS reported=-60 waited
  shift 2
  until "$@"; do
    waited=$((SECONDS - began))
    if [ "$waited" -ge "${SETUP_WAIT_S:-600}" ]; then return "$code"; fi
    if [ -n "$terminal" ]; then
      printf '\r\033[K%s (%s s)' "$($text)" "$waited" >&2
    elif [ $((waited - reported)) -ge 60 ]; then
      say "$($text) ($waited s)"
      reported=$waited
    fi
    sleep 0.5
  done
}

# Ctrl-C, a closed terminal or a request to end. What was being installed into .venv is given up (the next set-up makes it anew);
# dpkg finishes what it has begun, so that the computer's packages stay in order.
interrupted() {
  trap '' HUP
  trap 'exit 130' INT TERM
  if [ -n "${tracks[python]:-}" ]; then kill -- "-${tracks[python]}" 2> /dev/null || true; fi
  for track in base packages; do
    [ -n "${tracks[$track]:-}" ] || continue
    if dpkg_at_work; then
      say "interrupted: waiting until dpkg has finished what it began"
    else
      as_root kill -- "-${tracks[$track]}" 2> /dev/null || true
    fi
  done
  wait 2> /dev/null || true
  say "interrupted: the next set-up continues from here"
  exit 130
}

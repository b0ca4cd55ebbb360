# shellcheck shell=bash
# progress: how the scripts speak. Progress goes to stderr, so that stdout carries results only. Sourced, never run.

# step TEXT: say what happens now.
step() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# fail TEXT...: say what is wrong, one line per argument, and end.
fail() {
  local line
  for line in "$@"; do step "$line"; done
  exit 1
}

# quietly COMMAND...: run a command and show what it printed only if it fails.
quietly() {
  local output
  if ! output=$("$@" 2>&1); then
    printf '%s\n' "$output" >&2
    return 1
  fi
}

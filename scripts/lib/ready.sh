# shellcheck shell=bash
# ready: what scripts need that are run from a bare clone as well as in the middle of the tests, when nobody may build again. Sourced, never run.

# make_ready OPTION COMMAND...: run `scripts/setup OPTION`, unless the commands are installed and the build is of this source.
make_ready() {
  local option=$1
  shift
  if [[ -d node_modules && -z $(find src package-lock.json -newer dist/swtpm-mirror.cjs -print -quit 2>&1) ]] &&
    type "$@" >/dev/null 2>&1; then return; fi
  scripts/setup ${option:+"$option"}
}

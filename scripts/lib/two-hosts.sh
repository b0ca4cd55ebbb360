# two-hosts.sh: two hosts played by two sets of directories on this machine, that share one directory, and a VM with a real swtpm. For scripts that
# show the program at work: they set PROGRAM, DOMAIN and NAME first. Leaves nothing behind. To be sourced after progress.sh.

readonly WAIT_SECONDS=20

ground=$(mktemp -d /tmp/try-XXXXXX)
pids=()

clean_up() {
  local pid
  for pid in "${pids[@]}"; do kill -KILL "$pid" || true; done
  wait || true
  # A storage process outlives its killed agent by a moment, and may still write.
  rm -rf "$ground" || { sleep 1 && rm -rf "$ground"; }
} 2>/dev/null
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s\n' "$*"; }
found() { printf '    %s\n' "$@"; }

# wait_for TEXT COMMAND...: until the command succeeds. What it says is shown if it never does.
wait_for() {
  local what=$1 deadline=$((SECONDS + WAIT_SECONDS)) output
  shift
  until output=$("$@" 2>&1); do
    ((SECONDS < deadline)) || fail "$what did not happen within $WAIT_SECONDS s" "$output"
    sleep 0.1
  done
}

# on HOST COMMAND...: run the program as that host.
on() {
  local host=$1
  shift
  node "$PROGRAM" "$@" --config "$ground/$host/config.toml"
}

make_host() {
  local here=$ground/$1
  mkdir -p "$here/state" "$here/run" "$here/swtpm" "$here/log"
  cat >"$here/config.toml" <<TOML
host = "$1"
share = "$ground/share"
state_dir = "$here/state"
run_dir = "$here/run"
[libvirt]
swtpm_dir = "$here/swtpm"
log_dir = "$here/log"
nvram = false
[timing]
settle = "50ms"
heartbeat = "500ms"
host_expiry = "2s"
[storage]
uid = $(id -u)
gid = $(id -g)
TOML
}

# start_agent HOST: leaves its process id in agent_pid.
start_agent() {
  node "$PROGRAM" agent --config "$ground/$1/config.toml" >"$ground/$1/agent.log" 2>&1 &
  agent_pid=$!
  pids+=("$agent_pid")
  wait_for "the start of the agent of $1" test -S "$ground/$1/run/control.sock"
  wait_for "an answer of the agent of $1" on "$1" status
}

tpm_directory() { printf '%s/%s/swtpm/%s/tpm2' "$ground" "$1" "$DOMAIN"; }

# start_tpm HOST: the VM's swtpm alone, on whatever state lies there; leaves its process id in swtpm_pid.
start_tpm() {
  local state socket=$ground/$1/tpm
  state=$(tpm_directory "$1")
  if [[ ! -d $state ]]; then
    mkdir -p "$state"
    quietly swtpm_setup --tpm2 --tpm-state "$state" --createek --lock-nvram --not-overwrite
  fi
  swtpm socket --tpm2 --tpmstate "dir=$state" --flags not-need-init,startup-clear \
    --server "type=unixio,path=$socket" --ctrl "type=unixio,path=$socket.ctrl" >"$ground/$1/swtpm.log" 2>&1 &
  swtpm_pid=$!
  pids+=("$swtpm_pid")
  export TPM2TOOLS_TCTI=swtpm:path=$socket
  wait_for "the start of the TPM of $1" tpm2_getrandom 1
}

# start_vm HOST: what a VM manager does. A start that is refused is tried again.
start_vm() {
  wait_for "a start of the VM on $1" on "$1" domain prepare "$DOMAIN" --name "$NAME"
  start_tpm "$1"
  on "$1" domain started "$DOMAIN"
}

# is_published HOST: the newest slot of the volume's log is an archive with the very state file that the host's swtpm has.
is_published() {
  local log=$ground/share/volumes/$DOMAIN/log slots
  slots=("$log"/*)
  tar -xzOf "${slots[-1]}" tpm2/tpm2-00.permall | cmp - "$(tpm_directory "$1")/tpm2-00.permall"
}

#!/bin/bash
# shell: the first process of a guest. Serves commands from the lab, side by side, over a virtio port.
#
#   request   ID COMMAND                  the command in base64; it runs in a bash of its own
#   answer    ID STATUS STDOUT STDERR     both in base64, `-` when empty
#
# It says `ready` when it serves, and again whenever it is asked with the ID 0.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
readonly WORK=/run/lab

word() { sed "s/.*lab\.$1=\([^ ]*\).*/\1/" /proc/cmdline; }

port() {
  local names=(/sys/class/virtio-ports/*/name) path
  path=$(grep -lx "$1" "${names[@]}")
  path=${path%/name}
  printf '/dev/%s' "${path##*/}"
}

encoded() {
  local text
  text=$(base64 -w0 "$1")
  printf %s "${text:--}"
}

serve() {
  local id=$1 command=$2 status
  bash -c "$(base64 -d <<<"$command")" >"$WORK/$id.out" 2>"$WORK/$id.err" 7>&- </dev/null
  status=$?
  {
    flock 8
    printf '%s %s %s %s\n' "$id" "$status" "$(encoded "$WORK/$id.out")" "$(encoded "$WORK/$id.err")" >&7
  } 8>"$WORK/answer.lock"
  rm -f "$WORK/$id.out" "$WORK/$id.err"
}

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$WORK" /run/lock /run/rpcbind
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
hostname "$(word name)"
word machine >/etc/machine-id
ip link set lo up
# What is not synced stays in memory long, so that a power cut takes it.
mkdir -p /local && mount -t ext4 -o commit=60 /dev/vda /local

ln -s "$(port lab.driver)" "$WORK/driver"
exec 7<>"$(port lab.shell)"
printf 'ready\n' >&7
# A port that nobody listens at reads as ended.
while :; do
  while read -r -u 7 id command; do
    if [[ $id == 0 ]]; then printf 'ready\n' >&7; else serve "$id" "$command" & fi
  done
  sleep 0.05
done

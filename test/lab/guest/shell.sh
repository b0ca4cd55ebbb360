#!/bin/bash
# shell: the first process of a guest. Serves commands from the lab, side by side, over a virtio port.
#
#   request   ID COMMAND                  the command as one word for `printf %b`; it runs in a subshell of its own
#   answer    ID = STATUS STDOUT STDERR   both in base64, `-` when empty
#   piece     ID + TEXT                   the beginning of an answer that is too long for one line
#
# It says `ready` when it serves, and again whenever it is asked with the ID 0. A program takes long to start in a guest, so there are as few as can be.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
readonly WORK=/run/lab
# What several commands answer at the same time must not be mixed: bash writes a line of this length in one go.
readonly WRITTEN_AT_ONCE=3000

word() { sed "s/.*lab\.$1=\([^ ]*\).*/\1/" /proc/cmdline; }

port() {
  local names=(/sys/class/virtio-ports/*/name) path
  path=$(grep -lx "$1" "${names[@]}")
  path=${path%/name}
  printf '/dev/%s' "${path##*/}"
}

encoded() { if [[ -s $1 ]]; then base64 -w0 "$1"; else printf -- -; fi; }

serve() {
  local id=$1 command status answer
  printf -v command %b "$2"
  (eval "$command") >"$WORK/$id.out" 2>"$WORK/$id.err" 7>&- </dev/null
  status=$?
  answer="$status $(encoded "$WORK/$id.out") $(encoded "$WORK/$id.err")"
  while ((${#answer} > WRITTEN_AT_ONCE)); do
    printf '%s + %s\n' "$id" "${answer:0:WRITTEN_AT_ONCE}" >&7
    answer=${answer:WRITTEN_AT_ONCE}
  done
  printf '%s = %s\n' "$id" "$answer" >&7
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

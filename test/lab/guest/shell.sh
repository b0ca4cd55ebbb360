#!/bin/bash
# shell: the first process of a guest. Serves commands from the lab, side by side, over a serial port.
#
#   request   ID COMMAND                  the command as one line for `printf %b`; it runs in a subshell of its own
#   answer    ID = STATUS STDOUT STDERR   both in base64, `-` when empty
#   piece     ID + TEXT                   the beginning of an answer that is too long for one line
#
# It says `ready` when it serves, and again whenever it is asked with the ID 0. A program takes long to start in a guest, so there are as few as can be.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
readonly WORK=/run/lab
# What several commands answer at the same time must not be mixed: bash writes a line of this length in one go.
readonly WRITTEN_AT_ONCE=3000

word() { sed "s/.*lab\.$1=\([^ ]*\).*/\1/" /proc/cmdline; }

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

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /lib/modules
ln -s "/usr/lib/uml/modules/$(uname -r)" /lib/modules/
mkdir -p "$WORK" /run/lock /run/rpcbind
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
hostname "$(word name)"
word machine >/etc/machine-id
ip link set lo up
for device in /sys/class/net/vec*; do ip link set "${device##*/}" name "${device/*vec/eth}"; done
# What is not synced stays in memory long, so that a power cut takes it.
mkdir -p /local && mount -t ext4 -o commit=60 /dev/ubda /local

for port in ttyS0 ttyS1; do stty -F /dev/$port raw -echo; done
exec 7<>/dev/ttyS0
printf 'ready\n' >&7
while read -r -u 7 id command; do
  if [[ $id == 0 ]]; then printf 'ready\n' >&7; else serve "$id" "$command" & fi
done

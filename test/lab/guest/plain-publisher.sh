#!/bin/bash
# plain-publisher: the control of the lab: keeps a copy of a TPM's state on the share as one would do it in an afternoon. The copy is written
# aside, synced and renamed over the one before; a host shows that it lives by the time of its own clock in a file of its own.
#
#   plain-publisher.sh STATE-FILE SHARE HOST RECORD    what it has published stands in RECORD, too
set -u
readonly state=$1 share=$2 host=$3 record=$4
readonly copy=$(mktemp) aside=$share/head.tmp.$host
published=

show_life() {
  while :; do
    date +%s >"$share/alive.$host.tmp" && mv "$share/alive.$host.tmp" "$share/alive.$host"
    sleep 1
  done
}

show_life &
while :; do
  if [[ -s $state ]] && cp "$state" "$copy"; then
    digest=$(sha256sum <"$copy")
    if [[ $digest != "$published" ]] && cp "$copy" "$aside" && sync "$aside" && mv "$aside" "$share/head"; then
      published=$digest
      printf %s "$digest" >"$record"
      printf 'published %s\n' "${digest%% *}"
    fi
  fi
  sleep 0.02
done

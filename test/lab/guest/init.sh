#!/bin/bash
# init: from the machine's own root file system, shared read-only, to one with a layer in memory above it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
insmod "/usr/lib/uml/modules/$(uname -r)/kernel/fs/overlayfs/overlay.ko"
mount -t tmpfs tmpfs /run
mkdir /run/upper /run/work /run/root
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay /run/root
program=$(sed 's/.*lab\.program=\([^ ]*\).*/\1/' /proc/cmdline)
exec chroot /run/root /bin/bash "$program/shell.sh"

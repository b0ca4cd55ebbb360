#!/bin/busybox sh
# init: from the initramfs to the machine's own root file system, shared read-only, with a layer in memory above it.
/bin/busybox mkdir -p /proc /sys /dev /lower /layer /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in $(/bin/busybox cat /modules); do /bin/busybox insmod "/$module"; done
/bin/busybox mount -t virtiofs -o ro rootfs /lower
/bin/busybox mount -t tmpfs -o mode=755 tmpfs /layer
/bin/busybox mkdir /layer/upper /layer/work
/bin/busybox mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work overlay /root
for place in proc sys dev; do /bin/busybox mount --move "/$place" "/root/$place"; done
program=$(/bin/busybox sed 's/.*lab\.program=\([^ ]*\).*/\1/' /root/proc/cmdline)
exec /bin/busybox switch_root /root /bin/bash "$program/shell.sh"

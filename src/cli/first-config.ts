/**
 * first-config: the configuration file that `install` writes.
 */

/** Every key with its default, switched off. Never written over a file that is there: it is the operator's from the first moment. */
export const FIRST_CONFIG = `# swtpm-mirror: every key with its default. Take the # away from what you change.

#share = "/var/lib/swtpm-mirror/share"     # the NFS mount; the default serves this one host alone
#state_dir = "/var/lib/swtpm-mirror"       # spool, journal, locks: local disk
#run_dir = "/run/swtpm-mirror"             # control.sock
#host = "kvm-a"                            # default: the machine's host name; unique on the share
#placement = "mirror"                      # or "direct": swtpm works on the share itself; read direct-placement.md first

[libvirt]
#uri = "qemu:///system"
#swtpm_dir = "/var/lib/libvirt/swtpm"
#nvram_dir = "/var/lib/libvirt/qemu/nvram"
#log_dir = "/var/log/libvirt/qemu"
#nvram = true                              # mirror the domain's NVRAM with its TPM

[timing]
#settle = "100ms"                          # least time between two readings of a state that keeps changing
#heartbeat = "5s"
#host_expiry = "30s"                       # age of its heartbeat from which a host may be taken over
#share_deadline = "5s"                     # for one operation on the share
#start_deadline = "30s"                    # for all that a domain's start waits for
#stop_deadline = "20s"                     # for all that a domain's stop waits for
#rescan = "30s"                            # between two looks at everything, in case an event was lost
#retry_max = "30s"                         # longest pause between two tries

[start]
#without_share = "refuse"                  # or "last-known": start from state that is provably this host's latest
#take_over = "expired"                     # or "never"
#damaged_head = "refuse"                   # or "previous": start from the newest generation that is whole

[retention]
#generations = 32                          # kept for each domain, at least

[storage]
#uid = 0                                   # whom the storage process works as on the share
#gid = 0

[limits]
#spool_bytes = "256MiB"
#queue = 256                               # operations that wait for the share, in all and for each volume
#queue_per_volume = 8
#storage_processes = 4                     # processes on the share, stuck ones included

[encryption]
#recipients = []                           # age recipients, "age1..."; none: generations are stored in the clear
#identity_file = ""                        # this host's age keys, mode 0600

[metrics]
#listen = ""                               # "127.0.0.1:9753" serves /metrics there

[log]
#level = "info"
`;

/**
 * install-files: what `install` writes: the systemd unit, libvirt's hook and a first configuration. Pure.
 *
 * What it writes carries a mark with a hash of the rest, so that a later `install` or `uninstall` knows its own work, and a file that
 * somebody wrote or edited from both.
 */
import { sha256 } from '../model/hash.js';

export interface Installation {
  /** Absolute path of Node. */
  readonly node: string;
  /** Absolute path of this program. */
  readonly program: string;
  /** Absolute path of the configuration file that agent and hook use. */
  readonly config: string;
}

const MARK = '# Written by `swtpm-mirror install`, checksum ';
const MARK_LINE = new RegExp(`^${MARK}([0-9a-f]{16})\\n`, 'm');
const CHECKSUM_DIGITS = 16;

/** The text with a mark, as its first line or after a `#!` line. */
export function marked(text: string): string {
  const line = `${MARK}${checksum(text)}\n`;
  const [shebang = ''] = /^#!.*\n/.exec(text) ?? [];
  return `${shebang}${line}${text.slice(shebang.length)}`;
}

/** Whether `marked` made this text and nobody changed it since. */
export function isOwnWork(text: string): boolean {
  const mark = MARK_LINE.exec(text);
  return mark !== null && checksum(text.replace(mark[0], '')) === mark[1];
}

function checksum(text: string): string {
  return sha256(text).slice(0, CHECKSUM_DIGITS);
}

/**
 * By way of a shell of the system's: where AppArmor confines libvirtd, its hooks run in its profile, which lets go of programs in /bin and /usr/bin alone, and
 * Node may lie anywhere. And a hook that cannot be run at all must not cost a running domain its life either.
 */
export function hookScript({ node, program, config }: Installation): string {
  const command = [node, program, 'hook', '--config', config, '--'].map(shellWord).join(' ');
  return marked(`#!/bin/sh
# libvirt runs this at each step of a domain's life, and waits for it. A start that it refuses says why.
operation=$2
set -- ${command} "$@"
case "$operation" in
  # libvirt kills a running domain when its hook fails here.
  reconnect | attach) /bin/sh -c 'exec "$@"' swtpm-mirror "$@" || exit 0 ;;
  *) exec /bin/sh -c 'exec "$@"' swtpm-mirror "$@" ;;
esac
`);
}

/**
 * Not `MemoryDenyWriteExecute`: V8 compiles at run time. `NotifyAccess=all`: systemd-notify speaks for the agent. A configuration that cannot be used (exit
 * status 2) is not tried again; everything else is, for ever.
 */
export function unitFile({ node, program, config }: Installation): string {
  const command = [node, program, 'agent', '--config', config].map(unitWord).join(' ');
  return marked(`[Unit]
Description=Mirrors the TPM state of virtual machines to shared storage
Wants=network-online.target
After=network-online.target local-fs.target remote-fs.target
# Up before the first domain starts, and down after the last one has stopped.
Before=libvirtd.service virtqemud.service libvirt-guests.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
ExecStart=${command}
Restart=always
RestartSec=1s
RestartPreventExitStatus=2
TimeoutStartSec=150s
# A stuck agent is started anew. Domains run on meanwhile.
WatchdogSec=120s
# The agent ends its storage processes itself, when what they are writing is durable.
KillMode=mixed
TimeoutStopSec=90s
OOMScoreAdjust=-500
# Memory holds TPM state.
LimitCORE=0
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID
ProtectSystem=full
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
`);
}

/** Every key with its default, switched off. Never written over a file that is there: it is the operator's from the first moment. */
export const FIRST_CONFIG = `# swtpm-mirror: every key with its default. Take the # away from what you change.

#share = "/var/lib/swtpm-mirror/share"     # the NFS mount; the default serves this one host alone
#state_dir = "/var/lib/swtpm-mirror"       # spool, journal, locks: local disk
#run_dir = "/run/swtpm-mirror"             # control.sock
#host = "kvm-a"                            # default: the machine's host name; unique on the share

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

[start]
#without_share = "refuse"                  # or "last-known": start from state that is provably this host's latest
#take_over = "expired"                     # or "never"
#damaged_head = "refuse"                   # or "previous": start from the newest generation that is whole

[retention]
#generations = 32

[storage]
#uid = 0                                   # whom the storage process works as on the share
#gid = 0

[log]
#level = "info"
`;

function shellWord(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** systemd's quoting: backslashes and quotes escaped, specifiers and variables doubled. */
function unitWord(text: string): string {
  const escaped = text
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('%', '%%')
    .replaceAll('$', '$$$$');
  return /^[A-Za-z0-9_@+=:,./-]+$/.test(text) ? text : `"${escaped}"`;
}

/**
 * install-files: the systemd unit and libvirt's hook as `install` writes them. Pure.
 *
 * What it writes carries a mark with a hash of the rest, so that a later `install` or `uninstall` knows its own work, and a file that
 * somebody wrote or edited from both.
 */
import { HOOK_OPERATIONS } from '../libvirt/hook-operation.js';
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
 * What hangs on no more than a shell, so that a program or a Node that is gone or broken costs no domain without a TPM its start, and no running one its
 * life; and so that the steps at which there is nothing to do cost no start of Node.
 *
 * Node is run by way of a shell of the system's: where AppArmor confines libvirtd, its hooks run in its profile, which lets go of programs in /bin and
 * /usr/bin alone, and Node may lie anywhere.
 */
export function hookScript({ node, program, config }: Installation): string {
  const command = [node, program, 'hook', '--config', config, '--'].map(shellWord).join(' ');
  return marked(`#!/bin/sh
# libvirt runs this at each step of a domain's life, and waits for it. A start that it refuses says why.
operation=$2
case "$operation" in
  ${HOOK_OPERATIONS.join(' | ')}) domain=$(cat) ;;
  # Nothing is to be done; libvirt is heard to the end.
  *) exec cat >/dev/null ;;
esac
set -- ${command} "$@"
run() { printf '%s\\n' "$domain" | /bin/sh -c 'exec "$@"' swtpm-mirror "$@"; }
case "$domain" in
  *'<tpm'*) ;;
  # Whatever may be wrong here, a domain without a TPM starts. It may have had one: then the agent says so.
  *) [ "$operation" != prepare ] || run "$@" >/dev/null 2>&1; exit 0 ;;
esac
run "$@"
status=$?
case "$operation" in
  # libvirt kills a running domain when its hook fails here.
  reconnect | attach) exit 0 ;;
  prepare)
    if [ "$status" -gt 125 ] || [ ! -r "$2" ]; then
      echo "swtpm-mirror: HOOK_MISSING: $1 or $2 cannot be run (status $status), so the domain's TPM is not restored"
      echo "  bring them back; or take $0 away: then domains start without the product"
    fi >&2 ;;
esac
exit "$status"
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

/**
 * install-files: the systemd unit and libvirt's hook as `install` writes them. Pure.
 *
 * What it writes carries a mark with a hash of the rest, so that a later `install` or `uninstall` knows its own work, and a file that
 * somebody wrote or edited from both.
 */
import { HOOK_NOTE } from '../host/hook-note.js';
import { HOOK_OPERATIONS } from '../libvirt/hook-operation.js';
import { sha256 } from '../model/hash.js';

export interface Installation {
  /** Absolute path of Node. */
  readonly node: string;
  /** Absolute path of this program. */
  readonly program: string;
  /** Absolute path of the configuration file that agent and hook use. */
  readonly config: string;
  /** Where the agent of that configuration listens, as far as is known when the hook is written. */
  readonly runDir: string;
  /** @default '/usr/bin/curl' */
  readonly curl?: string | undefined;
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
 * libvirt's hook: a shell script, so that it hangs on nothing that can be gone or broken, and costs no
 * start of Node. It asks this host's agent through curl, and falls back to the program where anything
 * about curl, agent or answer is not as expected.
 *
 * I1 Standard input is read to its end, and nothing goes to standard output.
 * I2 `reconnect` and `attach` succeed, and a domain without a TPM starts, whatever is wrong.
 * I3 Only the agent of this very configuration is asked: the note that it left names both.
 * I4 An answer that does not come in time refuses: the agent may be at work still, and undoes what
 *    nobody waited for.
 * I5 A user's own libvirtd runs this hook, too; it has no domains that are looked after.
 *
 * curl and Node are run by way of programs in /usr/bin and /bin: where AppArmor confines libvirtd, its
 * hooks run in its profile, which lets go of those alone, and Node may lie anywhere.
 */
export function hookScript({ node, program, config, runDir, curl }: Installation): string {
  const command = [node, program, 'hook', '--config', config, '--'].map(shellWord).join(' ');
  return marked(`#!/bin/sh
# libvirt runs this at each step of a domain's life, and waits for it. A start that it refuses says why.
LC_ALL=C
operation=$2 extra=$4 caller=$PPID
case "$operation" in
  ${HOOK_OPERATIONS.join(' | ')}) ;;
  # Nothing is to be done; libvirt is heard to the end.
  *) exec cat >/dev/null ;;
esac
# Of the domains of a user's own libvirtd, none is looked after.
[ -O / ] || [ "$(id -u)" = 0 ] || exec cat >/dev/null
domain=$(cat)
newline='
'

${askScript({ config, runDir, curl })}
by_program() {
  set -- ${command} "$@"
  printf '%s\\n' "$domain" |
    SWTPM_MIRROR_CALLER=$caller /bin/sh -c 'exec "$@"' swtpm-mirror "$@"
}

case "$domain" in
  *'<tpm'*) ;;
  # Whatever may be wrong here, a domain without a TPM starts. It may have had one: then the agent says so.
  *)
    [ "$operation" != prepare ] || ask 5 || by_program "$@" >/dev/null 2>&1
    exit 0 ;;
esac
if ask 86400; then
  [ -z "$message" ] || printf '%s\\n' "$message" >&2
else
  by_program "$@"
  status=$?
  if [ "$operation" = prepare ] && { [ "$status" -gt 125 ] || [ ! -r ${shellWord(program)} ]; }; then
    printf '%s\\n' ${shellWord(`swtpm-mirror: HOOK_MISSING: ${node} or ${program} cannot be run`)}" (status $status), so the domain's TPM is not restored"
    printf '%s\\n' "  bring them back; or take $0 away: then domains start without the product"
  fi >&2
fi
# libvirt kills a running domain when its hook fails here.
case "$operation" in reconnect | attach) exit 0 ;; esac
exit "$status"
`);
}

/** The shell function `ask`. */
function askScript({
  config,
  runDir,
  curl = CURL,
}: Pick<Installation, 'config' | 'runDir' | 'curl'>): string {
  const note = shellWord(`${runDir}/${HOOK_NOTE}`);
  return `# ask SECONDS: asks the agent. It succeeds when the call is decided: by $status, with $message.
ask() {
  [ -x ${shellWord(curl)} ] && [ -r ${note} ] || return 1
  { read -r agent && read -r patience && IFS= read -r config; } <${note} || return 1
  [ "$config" = ${shellWord(config)} ] || return 1
  case "$agent" in '' | *[!0-9a-f]*) return 1 ;; esac
  case "$patience" in '' | *[!0-9]*) return 1 ;; esac
  case "$extra" in *[!0-9A-Za-z-]*) return 1 ;; esac
  [ "$patience" -le "$1" ] || patience=$1
  answer=$(printf '%s\\n' "$domain" 2>/dev/null | ${shellWord(curl)} -q -s --noproxy '*' \\
    --unix-socket ${shellWord(`${runDir}/control.sock`)} --max-time "$patience" \\
    -H Expect: -H 'Content-Type: text/plain' --data-binary @- \\
    "http://localhost/v1/hook/$agent?operation=$operation&extra=$extra&caller=$caller" 2>/dev/null)
  case $? in
    0) ;;
    28)
      status=1
      message="swtpm-mirror: AGENT_UNREACHABLE: the agent of this host cannot be asked: no answer within $patience s
  see \\\`systemctl status swtpm-mirror\\\` and its log, then try again"
      return 0 ;;
    *) return 1 ;;
  esac
  status=\${answer%%"$newline"*}
  message=\${answer#"$status"}
  message=\${message#"$newline"}
  case "$status" in 'hook '*) status=\${status#hook } ;; *) return 1 ;; esac
  case "$status" in [0-9] | [1-9][0-9]) ;; *) return 1 ;; esac
}
`;
}

/** Where Debian and Fedora have it, and where AppArmor's profile of libvirtd lets a hook run it. */
const CURL = '/usr/bin/curl';

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
# Each VM, each connection and each watched directory needs some.
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID
ProtectSystem=full
# A mount that comes later reaches it all the same.
PrivateMounts=yes
PrivateTmp=yes
PrivateDevices=yes
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
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@resources
SystemCallErrorNumber=EPERM

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

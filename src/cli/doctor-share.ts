/**
 * doctor-share: the checks of `doctor` that concern the share: what is mounted there, and whether it does what the protocol needs.
 */
import { mountOf, type Mount } from '../host/mount-table.js';
import type { Config } from '../model/config.js';
import type { Clock } from '../model/environment.js';
import { MirrorError } from '../model/errors.js';
import { semanticsOf } from '../model/share-semantics.js';
import type { ShareExamination } from '../volume/examine.js';
import { expectEscrow } from '../volume/escrow.js';
import type { ShareIdentity } from '../volume/share-store.js';
import type { ShareService } from '../volume/share-administration.js';
import { ok, problem, warning, type Finding } from './doctor-finding.js';

const MIB = 1024 ** 2;
const SPACE_BYTES_MIN = 64 * MIB;
const INODES_MIN = 1_000;
const CLOCK_MS_MAX = 5_000;
const MOUNT = 'mount';
const UNTRIED_NEXT =
  'try it before you trust it: two hosts, a power cut of each and of the storage; `docs/file-systems.md` tells what a share needs';
const VOLATILE: ReadonlySet<string> = new Set(['tmpfs', 'ramfs']);

/** @param mountInfo text of `/proc/self/mountinfo` */
export function checkMount(config: Config, mountInfo: string): Finding[] {
  const { share, shareIsDefault } = config;
  if (shareIsDefault) {
    const next = 'mount shared storage on every host and set `share` in the configuration to it';
    return [warning(MOUNT, `no share is configured: ${share} serves this host alone`, next)];
  }
  const mount = mountOf(mountInfo, share);
  if (!mount || mount.mountPoint === '/') {
    const next = 'mount the export there, and have it mounted at boot (`/etc/fstab`, `_netdev`)';
    return [warning(MOUNT, `${share} lies on this host's own root file system`, next)];
  }
  const what = `${mount.source} (${mount.type}) at ${mount.mountPoint}`;
  if (mount.options.has('ro')) return [problem(MOUNT, readOnly(what))];
  return [...checkNfs(mount, what), checkLinks(mount, what)];
}

/** Options that keep what others plant on the share from being of use to them. */
const PRECAUTIONS = ['nosymfollow', 'nodev', 'nosuid'] as const;

/** A second line of defence: this program follows no link there whatever the mount says, so that a mount without is no fault. */
function checkLinks({ options }: Mount, what: string): Finding {
  const missing = PRECAUTIONS.filter((option) => !options.has(option));
  if (missing.length === 0) return ok('mount options', `${what} lets no link, device or suid file work`);
  return ok(
    'mount options',
    `${what} is mounted without \`${missing.join(',')}\`, with which nothing that others put on the share could lead any program of this host elsewhere; this one follows no link there, and reads its log, which is of links, with it as well (Linux 5.10 or newer)`,
  );
}

function checkNfs({ type, options }: Mount, what: string): Finding[] {
  if (VOLATILE.has(type)) {
    return [warning(MOUNT, `${what} is in memory`, 'put the share on storage that outlives a reboot')];
  }
  if (!type.startsWith('nfs')) return [ok(MOUNT, what)];
  const version = [...options].find((option) => option.startsWith('vers='))?.slice('vers='.length) ?? '?';
  const findings: Finding[] = [];
  if (!options.has('hard')) {
    findings.push(
      warning(
        MOUNT,
        `${what} is a soft mount: after a while it answers EIO for what the server may still carry out`,
        'mount it with `hard`, the default: this program bounds its own waits',
      ),
    );
  }
  if (version.startsWith('2') || version.startsWith('3') || version === '4.0') {
    findings.push(
      ok(
        MOUNT,
        `${what} speaks NFS ${version}, which has no sessions, so that a lost reply can make a request run twice: the volumes are safe all the same, and \`vers=4.2\` spares it`,
      ),
    );
  }
  return [...(findings.length > 0 ? findings : [ok(MOUNT, `${what}, NFS ${version}, hard`)]), unseenExport()];
}

/** No answer of a server tells it: one that acknowledges too early is only quick. */
function unseenExport(): Finding {
  return ok(
    'export',
    'that the server exports it with `sync` cannot be seen from here, and an acknowledged state survives its power loss only then: `exportfs -v` on the server tells',
  );
}

function readOnly(what: string): MirrorError {
  return new MirrorError('SHARE_DENIED', `${what} is mounted read-only`, {
    next: 'mount it with `rw`, and export it so',
  });
}

/** @param shareId the share that this host knows */
export async function checkShare(
  share: ShareService,
  config: Config,
  shareId: string | undefined,
  clock: Clock,
): Promise<Finding[]> {
  try {
    const found = await share.examine({ shareId });
    const began = clock.monotonicMs();
    const identity = await share.identify({});
    const latencyMs = clock.monotonicMs() - began;
    const title = `${config.share} is share ${identity.id}, and answers host ${config.host} in ${latencyMs.toFixed(1)} ms`;
    return [ok('share', title), ...checkEscrow(identity, config), ...judge(found, config)];
  } catch (error) {
    return [problem('share', error)];
  }
}

function checkEscrow(share: ShareIdentity, { encryption }: Config): Finding[] {
  if (share.escrow === undefined) return [];
  try {
    expectEscrow(encryption.recipients, share);
    return [ok('escrow', `everything is encrypted for the share's ${share.escrow}, too`)];
  } catch (error) {
    return [problem('escrow', error)];
  }
}

function judge(found: ShareExamination, { storage }: Config): Finding[] {
  const { faults, owner, availableBytes, availableInodes, serverAheadMs } = found;
  const findings: Finding[] = faults.map((fault) => problem('share semantics', broken(fault)));
  if (faults.length === 0) {
    findings.push(
      ok('share semantics', 'symbolic links are exclusive, links and renames are as they should'),
    );
  }
  if (owner.uid !== storage.uid) {
    findings.push(
      warning(
        'share owner',
        `the server gives this host's files to user ${owner.uid}, although it works there as user ${storage.uid}`,
        'root_squash, probably: set `storage.uid` and `storage.gid` to a user of the share',
      ),
    );
  }
  findings.push(whoWorks(storage.uid, owner.uid));
  const isTight = availableBytes < SPACE_BYTES_MIN || availableInodes < INODES_MIN;
  const inodes = Number.isFinite(availableInodes) ? ` and ${availableInodes} inodes` : '';
  const space = `${Math.floor(availableBytes / MIB)} MiB${inodes} available`;
  findings.push(isTight ? warning('share space', space, 'free some space') : ok('share space', space));
  findings.push(...checkFileSystem(found));
  if (semanticsOf(found.kind).timeSource === 'writer') return findings;
  const clock = `the server's clock is ${(Math.abs(serverAheadMs) / 1000).toFixed(1)} s ${serverAheadMs < 0 ? 'behind' : 'ahead of'} this host's`;
  const isOff = Math.abs(serverAheadMs) > CLOCK_MS_MAX;
  findings.push(
    isOff
      ? warning('clock', clock, 'set both by NTP: times in histories are wrong; nothing else hangs on them')
      : ok('clock', clock),
  );
  return findings;
}

/** What root on the share costs. */
function whoWorks(uid: number, owner: number): Finding {
  if (uid !== 0) return ok('share user', `works there as user ${uid}, who is not root on this host`);
  const squashed = owner === 0 ? '' : ` (the server takes it for user ${owner})`;
  return ok(
    'share user',
    `works there as root${squashed}: whatever others put on the share is read by a process with root's rights on this host. An unprivileged \`storage.uid\` and \`storage.gid\`, the same on every host, and the share's files given to it, spare that; direct placement needs root there`,
  );
}

/** What the share lies on, and what is known of it. */
function checkFileSystem({ kind }: ShareExamination): Finding[] {
  const check = 'file system';
  const semantics = semanticsOf(kind);
  const { title, standing, timeSource, needs } = semantics;
  const time =
    timeSource === 'server'
      ? 'one clock stamps all files, so that the age of a heartbeat is known'
      : 'a file may have the time of the host that wrote it, so that heartbeats are watched: an agent that has run for timing.host_expiry knows who is dead, anybody else waits for as long';
  const findings =
    standing === 'unknown'
      ? [warning(check, `${title}: nobody has tried a share there; ${time}`, UNTRIED_NEXT)]
      : [ok(check, `${title}: ${time}`)];
  if (kind !== 'nfs') {
    findings.push(...needs.map((need) => ok(check, `it needs what no mount shows: ${need}`)));
  }
  return findings;
}

function broken(fault: string): MirrorError {
  return new MirrorError('SHARE_DENIED', fault, {
    next: 'do not use this storage as a share: published states could be lost there',
  });
}

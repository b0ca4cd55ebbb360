/**
 * version-skew: hosts of a share whose agents are of another version than this program: not yet brought up to date, or not restarted since.
 */
import { ok, warning, type Finding } from './doctor-finding.js';
import { counted, printable } from './text-table.js';

export interface VersionedHost {
  readonly host: string;
  readonly alive: boolean;
  /** `null` or `undefined` when it does not tell. */
  readonly version?: string | null | undefined;
}

export const SKEW_NEXT =
  'install one version on every host and restart its agent (`systemctl restart swtpm-mirror`); domains run on meanwhile';

/** What a host that is gone ran last says nothing. */
export function otherVersions<Host extends VersionedHost>(hosts: readonly Host[], version: string): Host[] {
  return hosts.filter((host) => host.alive && host.version !== version);
}

export function skewText(others: readonly VersionedHost[], version: string): string {
  const named = others.map((other) => `${other.host} (${printable(other.version ?? 'unknown')})`);
  return `agents of another version than this program's, ${version}: ${named.join(', ')}`;
}

export function checkVersions(hosts: readonly VersionedHost[], version: string): Finding {
  const check = 'versions';
  const others = otherVersions(hosts, version);
  const alive = hosts.filter((host) => host.alive).length;
  if (others.length > 0) return warning(check, skewText(others, version), SKEW_NEXT);
  return ok(
    check,
    `this program is ${version}, and so is the agent of each of ${counted(alive, 'live host')}`,
  );
}

/**
 * doctor-hosts: the checks of `doctor` that concern the hosts of a share: who this one is, which versions the others run, and
 * whether their heartbeats tell how old they are.
 */
import type { Config } from '../model/config.js';
import type { HostIdentity } from '../model/host-identity.js';
import type { HostPresence, ShareAdministration } from '../volume/share-administration.js';
import { ok, warning, type Finding } from './doctor-finding.js';
import { counted, shortDuration } from './text-table.js';
import { checkVersions } from './version-skew.js';

/** Of which a beat may lie in the future: the server's clock is set by as much all the time. */
const AHEAD_MS_MAX = 1_000;

export function checkIdentity({ name, id, formerNames }: HostIdentity): Finding {
  const former = formerNames.length > 0 ? `, before that ${formerNames.join(', ')}` : '';
  return ok('identity', `this host is ${id}, called ${name}${former}`);
}

/** Nothing of a share that cannot be read: other checks say so. */
export async function checkHosts(
  share: ShareAdministration,
  { timing: { hostExpiryMs } }: Config,
  version: string,
): Promise<Finding[]> {
  const survey = await share.survey({ hostExpiryMs, shareId: undefined }).catch(() => undefined);
  if (!survey) return [];
  return [checkVersions(survey.hosts, version), ...checkBeats(survey.hosts, hostExpiryMs)];
}

function checkBeats(hosts: readonly HostPresence[], hostExpiryMs: number): Finding[] {
  const ahead = hosts.filter(({ aheadMs }) => aheadMs > AHEAD_MS_MAX);
  if (ahead.length === 0) return [];
  const named = ahead.map(({ host, aheadMs }) => `${host} by ${shortDuration(aheadMs)}`).join(', ');
  return [
    warning(
      'heartbeats',
      `${counted(ahead.length, 'heartbeat lies', 'heartbeats lie')} in the future of the server's clock: ${named}`,
      `nothing, if the server's clock was set back or somebody touched the file: such a host counts as dead when its beat has not changed for ${shortDuration(hostExpiryMs)}, which a start elsewhere waits for`,
    ),
  ];
}

/**
 * state-files: a domain's state files, as the agent works with them, in the directories of this host.
 */
import { domainPaths, type DomainPaths } from '../host/domain-paths.js';
import type { HostContext } from '../host/host-context.js';
import { removeEmptyStateDirectory, restoreState } from '../host/state-directory.js';
import { linkedDomains, takeLinksAway } from '../host/state-links.js';
import { readState, readStateNow } from '../host/state-reader.js';
import type { Config } from '../model/config.js';
import type { StateFiles } from './agent-context.js';
import type { DomainPlace } from './domain-place.js';

/** Looks at files that do not validate themselves, before their writer counts as never resting. */
const SETTLE_LOOKS = 20;

export function hostStateFiles(host: HostContext, { libvirt, timing }: Config): StateFiles {
  const { fs, clock } = host;
  const reader = { fs, clock, settleMs: timing.settleMs, settleLooks: SETTLE_LOOKS };
  const pathsOf = ({ uuid, nvramPath }: DomainPlace): DomainPaths =>
    domainPaths(libvirt.swtpmDir, uuid, nvramPath);
  return {
    read: (place, final) =>
      final ? readStateNow(reader, pathsOf(place)) : readState(reader, pathsOf(place)),
    restore: async (place, capture) => {
      await restoreState(host, pathsOf(place), capture);
    },
    removeEmpty: (place) => removeEmptyStateDirectory(host, pathsOf(place)),
    linked: () => linkedDomains(fs, libvirt.swtpmDir),
    takeLinksAway: (uuid) => takeLinksAway(fs, domainPaths(libvirt.swtpmDir, uuid)),
  };
}

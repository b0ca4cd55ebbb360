/**
 * state-files: a domain's state files, as the agent works with them, in the directories of this host.
 */
import { domainPaths, type DomainPaths } from '../host/domain-paths.js';
import type { HostContext } from '../host/host-context.js';
import { removeEmptyStateDirectory, restoreState } from '../host/state-directory.js';
import { linkedDomains, movedLinks, takeLinksAway } from '../host/state-links.js';
import { stampState, stateChangedAtNs } from '../host/state-stamp.js';
import { readState, readStateNow, type ReaderContext } from '../host/state-reader.js';
import type { Config } from '../model/config.js';
import { linkFree } from '../model/filesystem.js';
import { livePath, volumePaths } from '../volume/share-context.js';
import type { ShareStore } from '../volume/share-store.js';
import type { StateFiles } from './agent-context.js';
import type { DomainPlace } from './domain-place.js';

/** Looks at files that do not validate themselves, before their writer counts as never resting. */
const SETTLE_LOOKS = 20;

/** @param share reads the state of a domain whose swtpm works on the share itself: no path of it is touched here */
export function hostStateFiles(
  given: HostContext,
  { libvirt, timing, share: root }: Config,
  share: Pick<ShareStore, 'readLive'>,
): StateFiles {
  const host = { ...given, fs: linkFree(given.fs, libvirt.swtpmDir, 'HOST_TAMPERED') };
  const { fs, clock } = host;
  const settling = { fs, clock, settleMs: timing.settleMs, settleLooks: SETTLE_LOOKS };
  const readerFor = ({ uuid, live }: DomainPlace): ReaderContext => ({
    ...settling,
    readTpm: live === undefined ? undefined : () => share.readLive({ uuid, live }),
  });
  const pathsOf = ({ uuid, nvramPath }: DomainPlace): DomainPaths =>
    domainPaths(libvirt.swtpmDir, uuid, nvramPath);
  return {
    read: (place, final) =>
      final ? readStateNow(readerFor(place), pathsOf(place)) : readState(readerFor(place), pathsOf(place)),
    stamp: async (place, before) =>
      place.live === undefined ? await stampState(fs, pathsOf(place), before) : undefined,
    changedAtNs: async (place) =>
      place.live === undefined ? await stateChangedAtNs(fs, pathsOf(place)) : undefined,
    restore: async (place, capture) => {
      const linkTo = place.live === undefined ? undefined : livePath({ root }, place.uuid, place.live);
      await restoreState(host, pathsOf(place), capture, { linkTo });
    },
    removeEmpty: (place) => removeEmptyStateDirectory(host, pathsOf(place)),
    linked: () => linkedDomains(fs, libvirt.swtpmDir),
    movedLinks: () => movedLinks(fs, libvirt.swtpmDir),
    takeLinksAway: (uuid) => {
      const ours = `${volumePaths({ root }, uuid).live}/`;
      return takeLinksAway(fs, domainPaths(libvirt.swtpmDir, uuid), (target) => target.startsWith(ours));
    },
  };
}

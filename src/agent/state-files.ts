/**
 * state-files: a domain's state files, as the agent works with them, in the directories of this host.
 */
import { domainPaths, type DomainPaths } from '../host/domain-paths.js';
import type { HostContext } from '../host/host-context.js';
import { NOBODY_KNOWN } from '../host/accounts.js';
import { ownersFor, withOwnerNames, type OwnerSources } from '../host/owner.js';
import type { DomainUuid } from '../model/identifiers.js';
import { NvramMemory } from '../host/nvram-reader.js';
import { lookAtNvram } from '../host/nvram-firmware.js';
import { removeEmptyStateDirectory, restoreState } from '../host/state-directory.js';
import { keepAside } from '../host/set-aside.js';
import { linkedDomains, movedLinks, takeLinksAway } from '../host/state-links.js';
import { stampState, stateChangedAtNs } from '../host/state-stamp.js';
import { readState, readStateNow, type ReaderContext } from '../host/state-reader.js';
import type { Config } from '../model/config.js';
import { linkFree } from '../model/filesystem.js';
import { livePath, volumePaths } from '../volume/share-context.js';
import type { ShareStore } from '../volume/share-store.js';
import type { StateFiles } from './agent-context.js';
import type { DomainPlace } from './domain-place.js';

/** Accounts are made when packages are installed. */
const OWNERS_KNOWN_MS = 60_000;
const NO_SOURCES: OwnerSources = { accounts: NOBODY_KNOWN, qemuConf: undefined };

/** Looks at files that do not validate themselves, before their writer counts as never resting. */
const SETTLE_LOOKS = 20;

/**
 * @param readOwners who is who on this host; without it owners are told by the directories alone
 * @param share reads the state of a domain whose swtpm works on the share itself: no path of it is touched here
 */
export function hostStateFiles(
  given: HostContext,
  { libvirt, timing, share: root }: Config,
  share: Pick<ShareStore, 'readLive'>,
  readOwners?: () => Promise<OwnerSources>,
): StateFiles {
  const host = { ...given, fs: linkFree(given.fs, libvirt.swtpmDir, 'HOST_TAMPERED') };
  const { fs, clock } = host;
  const settling = { fs, clock, settleMs: timing.settleMs, settleLooks: SETTLE_LOOKS };
  const readerFor = ({ uuid, live }: DomainPlace): ReaderContext => ({
    ...settling,
    readTpm: live === undefined ? undefined : () => share.readLive({ uuid, live }),
  });
  const pathsOf = ({ uuid, nvramPath, nvram, tpm }: DomainPlace): DomainPaths =>
    domainPaths(libvirt.swtpmDir, uuid, nvramPath, nvram, tpm);
  /** Of domains that run. */
  const memories = new Map<DomainUuid, NvramMemory>();
  let known: { readonly sources: OwnerSources; readonly atMs: number } | undefined;
  const sources = async (): Promise<OwnerSources> => {
    if (!readOwners) return NO_SOURCES;
    const nowMs = clock.monotonicMs();
    if (!known || nowMs - known.atMs > OWNERS_KNOWN_MS) known = { sources: await readOwners(), atMs: nowMs };
    return known.sources;
  };
  return {
    read: async (place, final) => {
      const nvramMemory = memories.get(place.uuid) ?? new NvramMemory(clock);
      if (final) memories.delete(place.uuid);
      else memories.set(place.uuid, nvramMemory);
      const capture = final
        ? await readStateNow(readerFor(place), pathsOf(place))
        : await readState({ ...readerFor(place), nvramMemory }, pathsOf(place));
      return withOwnerNames(capture, (await sources()).accounts);
    },
    stamp: async (place, before) =>
      place.live === undefined ? await stampState(fs, pathsOf(place), before) : undefined,
    changedAtNs: async (place) =>
      place.live === undefined ? await stateChangedAtNs(fs, pathsOf(place)) : undefined,
    restore: async (place, capture, { clearNvram } = {}) => {
      const linkTo = place.live === undefined ? undefined : livePath({ root }, place.uuid, place.live);
      const paths = pathsOf(place);
      const owners = await ownersFor(fs, paths, capture, await sources());
      await restoreState(host, paths, capture, { linkTo, clearNvram, owners });
    },
    keepAside: (place, why) => keepAside(host, pathsOf(place), why),
    lookAtNvram: (place) => lookAtNvram(fs, pathsOf(place)),
    removeEmpty: (place) => removeEmptyStateDirectory(host, pathsOf(place)),
    linked: () => linkedDomains(fs, libvirt.swtpmDir),
    movedLinks: () => movedLinks(fs, libvirt.swtpmDir),
    takeLinksAway: (uuid) => {
      const ours = `${volumePaths({ root }, uuid).live}/`;
      return takeLinksAway(fs, domainPaths(libvirt.swtpmDir, uuid), (target) => target.startsWith(ours));
    },
  };
}

/**
 * captures: what operations of the share are given, for measurements that call them without an agent.
 */
import type { Capture } from '../../src/model/capture.js';
import { contentDigest, sha256 } from '../../src/model/hash.js';
import type { DomainUuid } from '../../src/model/identifiers.js';
import type { ClaimCall, PublishNote, ShareStore } from '../../src/volume/share-store.js';
import { PERMALL } from './tpm-state.js';

export const HOST_EXPIRY_MS = 30_000;

const NOTE: PublishNote = { domainName: 'vm', reason: 'change', bootId: 'boot', swtpm: '', libtpms: '' };

export function captureOf(uuid: DomainUuid, data: Uint8Array): Capture {
  const file = { role: 'tpm2', name: PERMALL, mode: 0o600, mtimeNs: 1n, data, sha256: sha256(data) } as const;
  return { uuid, files: [file], digest: contentDigest([file]), identity: undefined };
}

/** The same for captures as they are. */
export interface HeldVolume {
  publish(capture: Capture): Promise<void>;
}

/** A volume that a host holds. */
export interface Held {
  /** Publishes one more generation. */
  publish(data: Uint8Array): Promise<void>;
  release(): Promise<void>;
}

/** @throws Error when somebody else holds it */
export async function holdFor(store: ShareStore, uuid: DomainUuid): Promise<HeldVolume> {
  const { publishCapture } = await claim(store, uuid, 'start');
  return { publish: publishCapture };
}

/** @throws Error when somebody else holds it */
export async function hold(store: ShareStore, uuid: DomainUuid, reason: ClaimCall['reason']): Promise<Held> {
  const { publishCapture, release } = await claim(store, uuid, reason);
  return { publish: (data) => publishCapture(captureOf(uuid, data)), release };
}

async function claim(
  store: ShareStore,
  uuid: DomainUuid,
  reason: ClaimCall['reason'],
): Promise<{ publishCapture: (capture: Capture) => Promise<void>; release: () => Promise<void> }> {
  const claimed = await store.claim({
    uuid,
    reason,
    scope: 'free',
    hostExpiryMs: HOST_EXPIRY_MS,
    revive: false,
    shareId: undefined,
  });
  if (claimed.kind !== 'claimed') throw new Error(`expected a claim of ${uuid}, got ${claimed.kind}`);
  const { epoch, log } = claimed;
  let parent = log.head?.slot ?? 0;
  let slot = epoch;
  const expectCommitted = ({ kind }: { readonly kind: string }): void => {
    if (kind !== 'committed') throw new Error(`expected a commit to ${uuid}, got ${kind}`);
  };
  return {
    publishCapture: async (capture) => {
      slot += 1;
      expectCommitted(await store.publish({ uuid, epoch, slot, parent, capture, note: NOTE }));
      parent = slot;
    },
    release: async () => {
      const call = { uuid, kind: 'release', epoch, slot: slot + 1, reason: 'stop' } as const;
      expectCommitted(await store.closeEpoch(call));
    },
  };
}

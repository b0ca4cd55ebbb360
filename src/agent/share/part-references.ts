/**
 * part-references: what did not change beside a TPM is not written again. The store remembers, of each volume, which generation of its present
 * epoch holds the parts, and publishes a reference to that in the place of their bytes.
 *
 * I1 A reference names a generation that this run of the program was told is committed, in the same epoch: that one is pruned with what
 *    names it, and never before (`volume/tidy.ts`). A claim ends what is remembered: a volume that was purged and made anew has the same numbers again.
 * I2 A reference names what holds the bytes itself: none leads to another.
 * I3 All parts lie in one generation, or all are written: a name tells one (`model/generation-name.ts`).
 * Not guaranteed: that all that could be a reference is one. What is not remembered is written whole, once in an epoch at least.
 */
import type { Capture, StateFile } from '../../model/capture.js';
import type { Slot } from '../../model/generation-name.js';
import type { DomainUuid } from '../../model/identifiers.js';
import { partsOf } from '../../model/parts.js';
import type { CommitOutcome, PublishCall, ShareStore, StoredPart } from '../../volume/share-store.js';

type Commits = Pick<ShareStore, 'claim' | 'publish' | 'closeEpoch'>;

interface Held {
  readonly epoch: Slot;
  readonly parts: readonly StoredPart[];
}

export function referring<Share extends Commits>(share: Share): Share {
  const held = new Map<DomainUuid, Held>();
  const commits: Commits = {
    claim: async (call) => {
      held.delete(call.uuid);
      return await share.claim(call);
    },
    publish: async (call) => {
      const outcome = await share.publish(referringCall(call, held.get(call.uuid)));
      remember(held, call, outcome);
      return outcome;
    },
    closeEpoch: async (call) => {
      held.delete(call.uuid);
      return await share.closeEpoch(call);
    },
  };
  return new Proxy(share, {
    get: (target, name) => {
      if (name === 'claim' || name === 'publish' || name === 'closeEpoch') return commits[name];
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? (member.bind(target) as unknown) : member;
    },
  });
}

function remember(held: Map<DomainUuid, Held>, { uuid, epoch }: PublishCall, outcome: CommitOutcome): void {
  if (outcome.kind === 'committed' && outcome.parts) held.set(uuid, { epoch, parts: outcome.parts });
  else held.delete(uuid);
}

function referringCall(call: PublishCall, held: Held | undefined): PublishCall {
  if (held?.epoch !== call.epoch) return call;
  const capture = referringCapture(call.capture, held.parts);
  return capture ? { ...call, capture } : call;
}

/** @returns `undefined` where a part is not among those, or they are not together (I3) */
function referringCapture(capture: Capture, known: readonly StoredPart[]): Capture | undefined {
  const parts = partsOf(capture);
  const stored = parts.map(({ role, sha256 }) =>
    known.find((part) => part.role === role && part.sha256 === sha256),
  );
  const [first] = stored;
  if (!first || stored.some((part) => part?.in.generation !== first.in.generation)) return undefined;
  const files = capture.files.map((file): StateFile => {
    const part = stored[parts.indexOf(file)];
    return part ? { ...file, data: new Uint8Array(0), tail: undefined, in: part.in } : file;
  });
  return { ...capture, files };
}

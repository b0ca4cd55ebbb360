/**
 * metered-share: counts the commits that went through, wherever in the agent they were asked for.
 */
import { isOwn, type Self } from '../../model/host-identity.js';
import type { ClaimOutcome, CommitOutcome, ShareStore } from '../../volume/share-store.js';
import type { Meter } from '../meter.js';

type Commits = Pick<ShareStore, 'publish' | 'claim'>;

/** @param self this host: a claim after another's is a take-over */
export function metered<Share extends Commits>(share: Share, self: Self, meter: Meter): Share {
  const counting: Commits = {
    publish: async (call) => countPublish(await share.publish(call), meter),
    claim: async (call) => countClaim(await share.claim(call), self, meter),
  };
  return new Proxy(share, {
    get: (target, name) => {
      if (name === 'publish' || name === 'claim') return counting[name];
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? (member.bind(target) as unknown) : member;
    },
  });
}

function countPublish(outcome: CommitOutcome, meter: Meter): CommitOutcome {
  if (outcome.kind === 'committed') meter.published();
  return outcome;
}

function countClaim(outcome: ClaimOutcome, self: Self, meter: Meter): ClaimOutcome {
  if (outcome.kind === 'claimed' && outcome.from && !isOwn(outcome.from, self)) meter.tookOver();
  return outcome;
}

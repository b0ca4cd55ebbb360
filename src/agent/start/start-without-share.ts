/**
 * start-without-share: a start that the operator's policy allows while the share is away, from the last state that this host knows.
 *
 * Nothing is claimed: the volume is adopted, or its claim found again, when the share answers. Until then every capture goes to the spool.
 */
import { invariant } from '../../model/errors.js';
import type { Hold, PublishedState } from '../../model/lifecycle-state.js';
import { newestParts } from '../../model/parts.js';
import type { RestoreDecision } from '../../model/restore-plan.js';
import type { AgentContext } from '../agent-context.js';
import type { DomainPlace } from '../domain-place.js';
import { inSpool, prepared, type Prepared } from './prepared.js';
import type { Situation } from './situation.js';
import { suitNvram } from './suit-nvram.js';

export async function prepareWithoutShare(
  context: AgentContext,
  place: DomainPlace & { readonly name: string },
  situation: Situation,
  decision: Extract<RestoreDecision, { kind: 'keep-unverified' | 'restore-spooled' }>,
): Promise<Prepared> {
  const { uuid, record } = situation;
  const spooled = (await context.spool.peek(uuid)).newest;
  if (decision.kind === 'restore-spooled') {
    invariant(spooled !== undefined, 'a spooled capture is there when the plan restores it');
    const { capture, clearNvram } = await suitNvram(context, place, spooled.capture, 0, true);
    await context.files.restore(place, capture, { clearNvram });
  }
  const hold: Hold = record?.holding
    ? { kind: 'doubt', epoch: record.epoch }
    : { kind: 'wanted', how: 'adopt' };
  const pending =
    spooled &&
    inSpool(
      spooled.capture,
      { spooledAs: spooled.name, bootId: spooled.manifest.bootId },
      record?.identity ?? undefined,
    );
  const start = { ...prepared(situation, decision, hold, knownPublished(situation)), pending };
  const restored = decision.kind === 'restore-spooled' ? spooled?.capture : undefined;
  return { ...start, parts: newestParts(start.parts, restored ?? { files: [] }) };
}

function knownPublished({ record }: Situation): PublishedState | undefined {
  return record?.digest ? { slot: record.slot, digest: record.digest } : undefined;
}

/**
 * publish-note: what this host says of a capture beside its content.
 */
import { describeCapture } from '../../bundle/archive.js';
import type { GenerationReason, Manifest } from '../../bundle/manifest.js';
import type { Capture } from '../../model/capture.js';
import type { Slot } from '../../model/generation-name.js';
import type { PublishNote } from '../../volume/share-store.js';
import type { AgentContext } from '../agent-context.js';

/** @param bootId in which the capture was read from the disk: one that comes from the spool may be of a boot before this one */
export function publishNote(
  context: AgentContext,
  domainName: string,
  reason: GenerationReason,
  bootId = context.bootId,
): PublishNote {
  return { domainName, reason, bootId, swtpm: '', libtpms: '' };
}

/** A manifest for the spool: it aimed at no slot, and its epoch is the claim under which the capture was taken. */
export function spoolManifest(
  context: AgentContext,
  capture: Capture,
  note: PublishNote,
  epoch: Slot,
): Manifest {
  const { domainName, ...rest } = note;
  const time = new Date(context.clock.nowMs()).toISOString();
  return describeCapture(capture, {
    ...rest,
    name: domainName,
    slot: 0,
    epoch,
    parent: 0,
    host: context.config.host,
    time,
  });
}

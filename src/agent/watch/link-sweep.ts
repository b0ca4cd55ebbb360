/**
 * link-sweep: takes away the symbolic links that stand in place of TPM directories, before libvirt deletes through them. They are left by a crash, or
 * somebody made them.
 *
 * I1 (G8) The link of a domain that runs, or is about to, is left alone: swtpm works through it, and without it libvirt would make a blank TPM.
 */
import type { DomainUuid } from '../../model/identifiers.js';
import type { AgentContext } from '../agent-context.js';
import type { HostNotices } from './host-notices.js';

/**
 * @param notices learn what the operator should know, of this sweep and of former ones
 * @throws MirrorError `HOST_IO`
 */
export async function sweepLinks(context: AgentContext, notices: HostNotices): Promise<void> {
  const { files, locks, log } = context;
  for (const uuid of await files.linked()) {
    await locks.withDomain(uuid, async () => {
      if (await isInUse(context, uuid)) return;
      for (const { path, target, isOurs } of await files.takeLinksAway(uuid)) {
        // The journal knows what ours was for.
        if (isOurs) continue;
        log.warn(
          { uuid, path, target },
          'took a link in place of a TPM directory away; its target is untouched',
        );
      }
    });
  }
  for (const { uuid, path, target } of await files.movedLinks()) notices.linkTaken(uuid, path, target);
}

/** Whether the domain runs, or is about to: between libvirt's hook and the start of its swtpm there is nothing to be seen of it. */
async function isInUse({ running, journal, bootId }: AgentContext, uuid: DomainUuid): Promise<boolean> {
  if ((await running.list()).has(uuid) || (await running.guest(uuid)) === 'runs') return true;
  const record = await journal.read(uuid);
  if (!record) return false;
  return record.phase === 'incoming' || (record.phase === 'prepared' && record.bootId === bootId);
}

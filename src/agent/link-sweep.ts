/**
 * link-sweep: takes away the symbolic links that stand in place of TPM directories, before libvirt deletes through them. They are left by a crash, or
 * somebody made them.
 *
 * I1 (G8) The link of a domain that runs, or is about to, is left alone: swtpm works through it, and without it libvirt would make a blank TPM.
 */
import { MirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import type { AgentContext } from './agent-context.js';

/**
 * @param isInUse whether this host's records say that the domain runs or is about to
 * @returns what the operator should know
 * @throws MirrorError `HOST_IO`
 */
export async function sweepLinks(
  { files, running, locks, log }: AgentContext,
  isInUse: (uuid: DomainUuid) => Promise<boolean>,
): Promise<MirrorError[]> {
  const found: MirrorError[] = [];
  for (const uuid of await files.linked()) {
    await locks.withDomain(uuid, async () => {
      if ((await running.list()).has(uuid) || (await isInUse(uuid))) return;
      for (const { path, target } of await files.takeLinksAway(uuid)) {
        log.warn(
          { uuid, path, target },
          'took a link in place of a TPM directory away; its target is untouched',
        );
        found.push(
          new MirrorError('STATE_LINKED', `${path} was a link to ${target} and was taken away`, {
            next: `nothing in ${target} was changed; if the share has no state of the domain, move it from there to ${path}`,
          }),
        );
      }
    });
  }
  return found;
}

/**
 * run-end: whether a domain whose swtpm runs no more has ended itself. A process that is gone is not a domain that has stopped: its
 * QEMU runs on without a TPM, and started elsewhere the domain would run twice.
 *
 * I1 It has ended where libvirt says that it is shut off, or knows nothing of a domain that libvirt's own hook prepared; or where its
 *    QEMU was seen to run here, and does no more. A QEMU that runs is believed before libvirt, which may have lost it.
 * I2 Where nobody can tell, it has not: without libvirt, and without a QEMU that was ever seen, the operator says it
 *    (`domain stopped`).
 */
import type { DomainUuid } from '../../model/identifiers.js';
import type { AgentContext } from '../agent-context.js';

/** `runs`: its QEMU does, or libvirt says so; `unknown`: nobody can tell. */
export type Fate = 'ended' | 'runs' | 'unknown';

export async function fateOf(
  { guests, running }: Pick<AgentContext, 'guests' | 'running'>,
  uuid: DomainUuid,
  isByHook: boolean,
): Promise<Fate> {
  const qemu = await running.guest(uuid);
  if (qemu === 'runs') return 'runs';
  if ((await guests.inactive())?.has(uuid)) return 'ended';
  const known = await guests.known();
  if (known?.has(uuid)) return 'runs';
  const isForgotten = isByHook && known !== undefined;
  return isForgotten || qemu === 'gone' ? 'ended' : 'unknown';
}

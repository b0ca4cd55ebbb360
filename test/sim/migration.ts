/**
 * migration: a domain goes from one host to another, in libvirt's order.
 *
 *   target   migrate, prepare, started: all before any data
 *   source   the guest stops; its state travels
 *   target   the guest goes on, and is seen to run
 *   source   stopped, with the reason `migrated`
 *
 * The last two are independent of each other. A failure before the state travelled leaves the source as it was; the target hears `stopped` for a guest
 * that never ran.
 */
import type { AgentHost } from './agent-host.js';
import type { Guest } from './guest.js';
import type { RunClaim } from '../../src/model/run-claim.js';
import type { Domain, Site } from './site.js';
import { reads, type TpmRun, type TpmState } from './tpm.js';

export interface MigrationOptions {
  readonly fails: boolean;
  /** Whether the target's program is told that the guest runs there. */
  readonly confirmed: boolean;
}

/** @returns `undefined` when it could not begin */
export function migrate(
  site: Site,
  domain: Domain,
  [source, target]: readonly [AgentHost, AgentHost],
  options: MigrationOptions,
): Promise<boolean> | undefined {
  const from = source.hypervisor;
  const to = target.hypervisor;
  const guest = from?.guest(domain.uuid);
  const isReadable = !guest?.state || reads(target.swtpm ?? 'current', guest.state);
  const isTargetFree = isReadable && to && !to.isBusy(domain.uuid) && !to.guest(domain.uuid);
  // Without its swtpm QEMU has no state of the TPM to send.
  if (!from || !guest?.hasTpm || !isTargetFree || source === target) return undefined;
  let travelled: (state: TpmState | undefined) => void = () => undefined;
  const state = new Promise<TpmState | undefined>((resolve) => (travelled = resolve));
  let ready: (isReady: boolean) => void = () => undefined;
  const arrived = new Promise<boolean>((resolve) => (ready = resolve));
  target.onPowerLoss(() => {
    ready(false);
  });
  source.onPowerLoss(() => {
    travelled(undefined);
  });
  const leaving = from.job(domain, async () => {
    const isReady = await from.wait(arrived);
    if (!isReady || options.fails || from.guest(domain.uuid) !== guest) {
      travelled(undefined);
      return false;
    }
    const last = await from.wait(guest.end());
    from.forget(guest);
    guest.run.handedOver = last !== undefined;
    travelled(last);
    await from.pause(100);
    return await from.afterStop(domain, guest.run, 'migrated');
  });
  if (!leaving) return undefined;
  void to.job(domain, async () => {
    const runClaim = from.runClaimOf(guest);
    const incoming = await prepareTarget(site, guest.run, target, runClaim);
    ready(incoming !== undefined);
    return incoming !== undefined && (await arrive(site, domain, target, { incoming, state, options }));
  });
  return leaving;
}

async function prepareTarget(
  site: Site,
  { uuid, isKnown }: TpmRun,
  target: AgentHost,
  runClaim: RunClaim | undefined,
): Promise<Guest | undefined> {
  const hypervisor = target.hypervisor;
  if (!hypervisor) return undefined;
  let guest: Guest | undefined;
  try {
    hypervisor.announce(uuid);
    site.oracle.prepareAsked(target.name, uuid);
    const incoming = hypervisor.takeAnnouncement(uuid);
    site.oracle.arrivalAsked(target.name, uuid);
    const nvramPath = site.domain(uuid).nvram;
    const prepared = await hypervisor.wait(hypervisor.hooks.prepare(uuid, { incoming, nvramPath, runClaim }));
    site.oracle.prepareAnswered(target.name, uuid, prepared);
    site.coverage.count(`prepare: ${prepared.decision}`);
    guest = hypervisor.open(site.domain(uuid), { isKnown, isPastHook: false, isIncoming: true });
    hypervisor.setRunClaim(guest, runClaim);
    await hypervisor.wait(hypervisor.hooks.launched(uuid));
    return guest;
  } catch (error) {
    site.told(target.name, 'prepare, incoming', error);
    guest?.kill();
    if (guest) hypervisor.forget(guest);
    await hypervisor.wait(hypervisor.hooks.stopped(uuid, 'failed')).catch((later: unknown) => {
      site.told(target.name, 'stop', later);
    });
    return undefined;
  }
}

interface Arrival {
  readonly incoming: Guest;
  readonly state: Promise<TpmState | undefined>;
  readonly options: MigrationOptions;
}

async function arrive(
  site: Site,
  domain: Domain,
  target: AgentHost,
  { incoming, state, options }: Arrival,
): Promise<boolean> {
  const hypervisor = target.hypervisor;
  if (!hypervisor) return false;
  const { run } = incoming;
  const last = await hypervisor.wait(state);
  if (!last) {
    incoming.kill();
    hypervisor.forget(incoming);
    await hypervisor.tellStopped(domain, run, 'failed');
    return false;
  }
  run.began = true;
  await hypervisor.wait(incoming.receive(last));
  incoming.begin();
  if (!options.confirmed) return true;
  await hypervisor.pause(100);
  try {
    await hypervisor.wait(hypervisor.hooks.started(run.uuid));
    site.oracle.started(run);
  } catch (error) {
    site.told(target.name, 'started', error);
  }
  return true;
}

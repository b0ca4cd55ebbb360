/**
 * libvirt-hook: what a call of libvirt's hook means for its domain. The same where an agent runs and where the hook does the work itself.
 *
 * libvirt waits for the hook without a time limit and holds the domain's lock meanwhile.
 *
 * I1 libvirt is never called from here: it waits for this very hook.
 * I2 Every wait in here has a deadline of the configuration's.
 */
import { announceIncoming, takeAnnouncement } from '../../host/incoming-marker.js';
import { readStopReason } from '../../libvirt/domain-log.js';
import type { DomainCare } from '../../libvirt/domain-care.js';
import { readHookRequest, type HookArguments, type HookRequest } from '../../libvirt/hook-request.js';
import { nvramOf } from '../../libvirt/nvram-path.js';
import type { Config } from '../../model/config.js';
import type { Clock } from '../../model/environment.js';
import type { FileSystem } from '../../model/filesystem.js';
import type { RunClaim } from '../../model/run-claim.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { DomainFacts } from '../domain-place.js';
import { leftOutOf, type LeftOut } from '../left-out.js';
import { placeOf, settleOwnPlace, type OwnPlaceContext } from '../own-place.js';
import type { StartRequest } from '../start/prepared.js';

export interface HookHost {
  readonly config: Config;
  readonly fs: FileSystem;
  readonly clock: Clock;
  readonly journal: OwnPlaceContext['journal'];
}

/** Those who are told. Each promise is waited for, and its failure is the hook's. */
export interface HookedDomains {
  prepare(uuid: DomainUuid, request: StartRequest): Promise<unknown>;
  launched(uuid: DomainUuid, facts: DomainFacts): Promise<unknown>;
  /** The domain is about to be restored from a save file. @param claim that of the run which it was saved in */
  restoring(uuid: DomainUuid, claim: RunClaim | undefined): Promise<unknown>;
  /** libvirtd has come back to a domain that runs. */
  running(uuid: DomainUuid, facts: DomainFacts): Promise<unknown>;
  stopped(uuid: DomainUuid, reason: string): Promise<unknown>;
  /** A domain whose definition has no TPM is about to start. News, for which it does not wait. */
  withoutTpm(uuid: DomainUuid, name: string): void;
  /** One that has a TPM, and is not looked after, is about to start, or runs; `undefined`: that is over. */
  leftOut(uuid: DomainUuid, why: LeftOut | undefined): void;
}

/**
 * @param xml the domain's, from standard input
 * @throws MirrorError why the operation is refused, for whoever asked libvirt for it
 */
export async function carryOutHook(
  host: HookHost,
  domains: HookedDomains,
  call: HookArguments,
  xml: string,
): Promise<void> {
  const request = readHookRequest(call, xml, host.config.libvirt.swtpmDir);
  if (request.action === 'none') return;
  const { action, care } = request;
  const { uuid, name } = care;
  if (action !== 'announce-incoming') {
    domains.leftOut(uuid, action === 'released' ? undefined : leftOutOf(care));
  }
  if (care.kind === 'looked-after') await act(host, domains, { ...request, care });
  else if (care.kind === 'without-tpm' && action === 'prepare') domains.withoutTpm(uuid, name);
}

type ActiveRequest = Exclude<HookRequest, { action: 'none' }> & {
  readonly care: Extract<DomainCare, { kind: 'looked-after' }>;
};

async function act(host: HookHost, domains: HookedDomains, request: ActiveRequest): Promise<void> {
  const { config, fs, clock } = host;
  const { action, care } = request;
  const { uuid, name, domain } = care;
  const marker = { fs, clock, runDirectory: config.runDir };
  const nvram = nvramOf(domain, config.libvirt.nvramDir);
  switch (action) {
    case 'announce-incoming':
      await announceIncoming(marker, uuid);
      return;
    case 'restoring':
      await domains.restoring(uuid, domain.runClaim);
      return;
    case 'prepare':
      await domains.prepare(uuid, {
        name,
        ...nvram,
        tpm: care.own && (await settleOwnPlace(host, uuid, care.own)),
        incoming: await takeAnnouncement(marker, uuid),
        byHook: true,
        carried: domain.carried,
        runClaim: domain.runClaim,
        localState: domain.localState,
      });
      return;
    case 'launched':
    case 'running': {
      const tpm = await placeOf(host, care);
      if ('why' in tpm) domains.leftOut(uuid, tpm);
      else if (action === 'launched') await domains.launched(uuid, { name, ...nvram, ...tpm });
      else await domains.running(uuid, { name, ...nvram, ...tpm });
      return;
    }
    case 'released':
      await domains.stopped(uuid, await stopReason(host, request));
      return;
  }
}

async function stopReason({ fs, config }: HookHost, { care, reason }: ActiveRequest): Promise<string> {
  return reason ?? (await readStopReason(fs, config.libvirt.logDir, care.name)) ?? 'stopped';
}

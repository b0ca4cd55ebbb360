/**
 * second-writer: somebody puts a TPM state of the same TPM into the directory of a domain that is shut off: an older one, as a backup tool does, or one
 * that no run wrote and that goes on from the head.
 *
 * I1 Only beside a journal that knows what the last run here left: what differs from that was placed, and is to be refused.
 */
import { errnoOf } from '../../src/model/errors.js';
import { contentDigest, sha256 } from '../../src/model/hash.js';
import type { AgentHost } from './agent-host.js';
import { PERMALL, SWTPM_DIRECTORY } from './local-view.js';
import type { Domain, Site } from './site.js';
import type { TpmState } from './tpm.js';

/** @returns `undefined` where it makes no sense, or a job is under way */
export function placeState(
  site: Site,
  host: AgentHost,
  domain: Domain,
  { older: isOlder, newerFormat = false }: { readonly older: boolean; readonly newerFormat?: boolean },
): Promise<boolean> | undefined {
  const { hypervisor, local } = host;
  const { uuid } = domain;
  const head = site.oracle.share.headState(site.oracle.share.volume(uuid));
  const finalTpm = local.finalTpm(uuid);
  if (!hypervisor || hypervisor.guest(uuid) || !head || finalTpm === undefined) return undefined;
  const state = isOlder ? head.parent : madeFrom(site, host, domain, head, newerFormat);
  if (!state || digestOf(site.ledger.blobOf(state)) === finalTpm) return undefined;
  return hypervisor.job(domain, async () => {
    if (!(await write(host, uuid, site.ledger.blobOf(state)))) return false;
    site.oracle.placed(host.name, uuid, state, !isOlder);
    host.events.changed(uuid);
    return true;
  });
}

function madeFrom(
  site: Site,
  { name }: AgentHost,
  { uuid }: Domain,
  head: TpmState,
  newerFormat: boolean,
): TpmState {
  const run = site.newRun(uuid, name, { isKnown: false, isPastHook: false, isIncoming: false });
  return site.ledger.next(head, run, site.nowMs, newerFormat ? 'newer' : head.format);
}

function digestOf(blob: Uint8Array): string {
  return contentDigest([{ role: 'tpm2', name: PERMALL, sha256: sha256(blob) }]);
}

/** @returns whether the disk took it */
async function write(host: AgentHost, uuid: string, blob: Uint8Array): Promise<boolean> {
  const local = host.hypervisor?.program.local;
  if (!local) return false;
  const directory = `${SWTPM_DIRECTORY}/${uuid}`;
  const temporary = `${directory}/tpm2/.${PERMALL}.placed`;
  try {
    for (const path of [directory, `${directory}/tpm2`]) {
      await local.mkdir('operator:mkdir', path, 0o700).catch((error: unknown) => {
        if (errnoOf(error) !== 'EEXIST') throw error;
      });
    }
    const file = await local.open('operator:open', temporary, 'create', 0o600);
    const written = await file.write('operator:write', blob, 0).finally(() => file.close('operator:close'));
    if (written === blob.length) {
      await local.rename('operator:rename', temporary, `${directory}/tpm2/${PERMALL}`);
      return true;
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
  await local.unlink('operator:unlink', temporary).catch(() => undefined);
  return false;
}

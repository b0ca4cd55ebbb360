/**
 * run-claim: the claim under which a domain runs, as its host leaves it in the domain's live
 * metadata, where it travels with the guest: to a migration's destination, and into a save file.
 *
 *   <run xmlns="urn:swtpm-mirror:run" uuid="…" host="kvm-a" epoch="41" token="5fb1c0d3a2b49e87"/>
 *
 * Anybody can copy or write such an element. It proves something only together with a volume's log
 * that has the very same claim (`arrival.ts`), and only for the domain that it names.
 */
import type { Slot } from './generation-name.js';
import { isHostName, type DomainUuid, type HostName } from './identifiers.js';
import type { ClaimEntry } from './log-entry.js';

export interface RunClaim {
  readonly host: HostName;
  /** Slot of the claim. */
  readonly epoch: Slot;
  /** The claim's own, in hexadecimal digits. */
  readonly token: string;
}

export const RUN_NAMESPACE = 'urn:swtpm-mirror:run';
export const RUN_ELEMENT = 'run';

export function runClaimOf({ host, slot, token }: ClaimEntry): RunClaim {
  return { host, epoch: slot, token };
}

const EPOCH = /^[1-9]\d{0,7}$/;
const TOKEN = /^[0-9a-f]{8,64}$/;

/** The element, without characters that a shell or XML would take for more than themselves. */
export function formatRunClaim(uuid: DomainUuid, { host, epoch, token }: RunClaim): string {
  return `<${RUN_ELEMENT} uuid='${uuid}' host='${host}' epoch='${String(epoch)}' token='${token}'/>`;
}

/** @returns `undefined` for what is no claim, or another domain's */
export function readRunClaim(
  uuid: DomainUuid,
  attributes: Readonly<Record<string, string | undefined>>,
): RunClaim | undefined {
  const { host = '', epoch = '', token = '' } = attributes;
  const isIts = attributes['uuid']?.toLowerCase() === uuid;
  if (!isIts || !isHostName(host) || !EPOCH.test(epoch) || !TOKEN.test(token)) return undefined;
  return { host, epoch: Number(epoch), token };
}

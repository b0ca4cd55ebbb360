/**
 * hook-request: what libvirt says by running the hook: its four arguments and the domain's XML in, one action out. Pure.
 *
 *   operation            action              why
 *   migrate              announce-incoming   the `prepare` that follows at once begins an incoming migration, and does not say so itself
 *   prepare              prepare             the only hook early enough to restore anything
 *   started              launched            QEMU runs; a migration's data is still to come
 *   reconnect, attach    running             libvirtd was restarted; a failure of this hook would kill the domain
 *   release              released            the last hook before libvirt may delete the TPM's directory
 *   restore              none                the start hooks follow; the saved image then brings its own TPM state
 *   start, stopped, …    none                too late to restore, too early to let go; and whatever a newer libvirt adds
 *
 * Domains without an emulated TPM, and those whose metadata asks for it, are left alone: `none`.
 */
import { readDomainXml, type DomainXml } from './domain-xml.js';

/** Of the four arguments, those that say more than the XML does. */
export interface HookArguments {
  readonly operation: string;
  readonly extra: string;
}

export type HookAction = 'announce-incoming' | 'prepare' | 'launched' | 'running' | 'released';

export type HookRequest =
  | { readonly action: 'none' }
  | {
      readonly action: HookAction;
      readonly domain: DomainXml;
      /** Why the domain stopped, from libvirt 10.5 on. */
      readonly reason: string | undefined;
    };

const ACTIONS: ReadonlyMap<string, HookAction> = new Map([
  ['migrate', 'announce-incoming'],
  ['prepare', 'prepare'],
  ['started', 'launched'],
  ['reconnect', 'running'],
  ['attach', 'running'],
  ['release', 'released'],
]);
const REASON = /^[a-z][a-z -]{0,31}$/;

/** What `extra` is when it says nothing. */
const NOTHING = '-';

/** Whether a failure of this hook must not be told: libvirt would kill a running domain for it. */
export function mustSucceed(operation: string): boolean {
  return ACTIONS.get(operation) === 'running';
}

/**
 * @throws MirrorError `XML_INVALID`
 */
export function readHookRequest({ operation, extra }: HookArguments, xml: string): HookRequest {
  const action = ACTIONS.get(operation);
  if (action === undefined) return { action: 'none' };
  const domain = readDomainXml(xml);
  if (!domain?.mirrored) return { action: 'none' };
  return { action, domain, reason: extra !== NOTHING && REASON.test(extra) ? extra : undefined };
}

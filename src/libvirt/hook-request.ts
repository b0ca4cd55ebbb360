/**
 * hook-request: what libvirt says by running the hook: its four arguments and the domain's XML in, one action out. Pure.
 */
import { careFor, type DomainCare } from './domain-care.js';
import { actionOf, type HookAction } from './hook-operation.js';

/** Of the four arguments, those that say more than the XML does. */
export interface HookArguments {
  readonly operation: string;
  readonly extra: string;
}

export type HookRequest =
  | { readonly action: 'none' }
  | {
      readonly action: HookAction;
      readonly care: DomainCare;
      /** Why the domain stopped, from libvirt 10.5 on. */
      readonly reason: string | undefined;
    };

const REASON = /^[a-z][a-z -]{0,31}$/;

/** What `extra` is when it says nothing. */
const NOTHING = '-';

/**
 * @param swtpmDir `libvirt.swtpm_dir` in the configuration
 * @throws MirrorError `XML_INVALID`
 */
export function readHookRequest(
  { operation, extra }: HookArguments,
  xml: string,
  swtpmDir: string,
): HookRequest {
  const action = actionOf(operation);
  if (action === undefined) return { action: 'none' };
  const care = careFor(xml, swtpmDir);
  return { action, care, reason: extra !== NOTHING && REASON.test(extra) ? extra : undefined };
}

/**
 * hook-operation: libvirt's operations of the qemu hook, and what each means here. Pure.
 *
 *   operation            action              why
 *   migrate              announce-incoming   the `prepare` that follows at once begins an incoming migration, and does not say so itself
 *   prepare              prepare             the only hook early enough to restore anything
 *   started              launched            QEMU runs; a migration's data is still to come
 *   reconnect, attach    running             libvirtd was restarted; a failure of this hook would kill the domain
 *   release              released            the last hook before libvirt may delete the TPM's directory
 *   restore              restoring           the start hooks follow; the save file then brings its own TPM state, over what they put in place
 *   start, stopped, …    none                too late to restore, too early to let go; and whatever a newer libvirt adds
 */
export type HookAction = 'announce-incoming' | 'restoring' | 'prepare' | 'launched' | 'running' | 'released';

/** Longest XML of a domain that is accepted, in characters and in bytes; libvirt's own are a few thousand. */
export const DOMAIN_XML_LENGTH_MAX = 4 * 1024 * 1024;

const ACTIONS: ReadonlyMap<string, HookAction> = new Map([
  ['migrate', 'announce-incoming'],
  ['restore', 'restoring'],
  ['prepare', 'prepare'],
  ['started', 'launched'],
  ['reconnect', 'running'],
  ['attach', 'running'],
  ['release', 'released'],
]);

/** Those at which there is something to do. */
export const HOOK_OPERATIONS: readonly string[] = [...ACTIONS.keys()];

/** @returns `undefined` where there is nothing to do */
export function actionOf(operation: string): HookAction | undefined {
  return ACTIONS.get(operation);
}

/** Whether a failure of this hook must not be told: libvirt would kill a running domain for it. */
export function mustSucceed(operation: string): boolean {
  return actionOf(operation) === 'running';
}

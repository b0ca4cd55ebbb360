/**
 * injection: what a scenario does to exactly one call, found by its call site.
 *
 * `executed` tells the two halves of a failure apart: the call had no effect, or it took place and its reply was lost.
 */
import type { CallSite } from '../../src/model/filesystem.js';

export interface Call {
  readonly host: string;
  /** The system call, e.g. `rename`. */
  readonly operation: string;
  readonly site: CallSite;
  readonly path: string;
}

/** The call fails with this errno, or its process is killed, before or after it took effect; or it takes effect and is answered late. */
export type Injection =
  | { readonly kind: 'fail'; readonly code: string; readonly executed: boolean }
  | { readonly kind: 'kill'; readonly executed: boolean }
  | { readonly kind: 'delay'; readonly ms: number; readonly executed: true };

export type Injector = (call: Call) => Injection | undefined;

/**
 * The injection for the calls of one site, after `skip` of them passed unharmed, `times` times.
 *
 * @param site a whole call site, `publish:rename`, or all of an operation, `publish:*`
 */
export function injectAt(site: CallSite, injection: Injection, skip = 0, times = 1): Injector {
  let seen = 0;
  return (call) => {
    if (!matches(site, call.site)) return undefined;
    seen += 1;
    return seen > skip && seen <= skip + times ? injection : undefined;
  };
}

/** The injection at the `nth` call of all, from 1: for sweeps over every call of a run. */
export function injectAtCall(nth: number, injection: Injection): Injector {
  let seen = 0;
  return () => {
    seen += 1;
    return seen === nth ? injection : undefined;
  };
}

function matches(pattern: CallSite, site: CallSite): boolean {
  return pattern.endsWith(':*') ? site.startsWith(pattern.slice(0, -1)) : site === pattern;
}

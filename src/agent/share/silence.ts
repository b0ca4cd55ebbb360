/**
 * silence: for how long no other host may have heard of this one, and whether they may have taken it for dead.
 *
 * The monotonic clock stands still while a machine sleeps, so both clocks are asked. A wall clock that was set costs no more than a look.
 */
import type { Clock } from '../../model/environment.js';
import type { AgentContext } from '../agent-context.js';

export interface Instant {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

/**
 * What of its expiry a host may be silent before it looks whether anybody has noticed. The clocks of two machines run at different speeds, and a look too
 * many costs little.
 */
const UNHEARD_PART = 0.5;

export function instant(clock: Clock): Instant {
  return { monotonicMs: clock.monotonicMs(), wallMs: clock.nowMs() };
}

/** @param since when others may have heard of this host for the last time */
export function silentMs({ clock }: Pick<AgentContext, 'clock'>, since: Instant): number {
  const now = instant(clock);
  return Math.max(now.monotonicMs - since.monotonicMs, now.wallMs - since.wallMs);
}

export function mayCountAsDead({ config }: Pick<AgentContext, 'config'>, forMs: number): boolean {
  return forMs >= config.timing.hostExpiryMs * UNHEARD_PART;
}

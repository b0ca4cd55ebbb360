/**
 * phase: spreads what is done for each domain once in many looks, so that domains that began together do not all have their turn at once.
 */
import type { DomainUuid } from '../model/identifiers.js';

const LAST_DIGITS = 4;

/** @returns at which of `period` looks a domain has its turn, 0 to `period - 1` */
export function phaseOf(uuid: DomainUuid, period: number): number {
  return parseInt(uuid.slice(-LAST_DIGITS), 16) % period;
}

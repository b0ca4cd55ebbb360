/**
 * meter: what an agent tells whoever counts. Nothing depends on anybody listening.
 */
import type { ErrorCode } from '../model/errors.js';
import type { RestoreDecision } from '../model/restore-plan.js';

export interface Meter {
  /** A start was let go on, by this decision. */
  started(decision: RestoreDecision['kind']): void;
  refused(code: ErrorCode): void;
  published(): void;
  /** The volume of a domain of this host was lost to another host. */
  fenced(): void;
  /** A volume was taken from another host that had not released it. */
  tookOver(): void;
}

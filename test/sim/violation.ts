/**
 * violation: a guarantee that a schedule broke.
 */

export type Guarantee =
  'G1' | 'G2' | 'G3' | 'G4' | 'G5' | 'G6' | 'G7' | 'G8' | 'liveness' | 'protocol' | 'program';

/** Thrown by the oracle's checks; the first one of a schedule ends it. */
export class Violation extends Error {
  override readonly name = 'Violation';
  readonly guarantee: Guarantee;

  constructor(guarantee: Guarantee, what: string) {
    super(`${guarantee}: ${what}`);
    this.guarantee = guarantee;
  }
}

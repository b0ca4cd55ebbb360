/**
 * verdict: what a scenario found: each check with what was seen, whatever came of the ones before it.
 */
export interface Check {
  /** Begins with the guarantee that it holds to, e.g. `G4: …`. */
  readonly name: string;
  readonly held: boolean;
  readonly seen: string;
}

/** Ends a control: there is nothing more to learn from it. */
export class Caught extends Error {}

export class Verdict {
  /** A control ends with its first violation. */
  readonly #isControl: boolean;
  readonly #checks: Check[] = [];
  readonly #facts: Record<string, string | number> = {};

  constructor(isControl: boolean) {
    this.#isControl = isControl;
  }

  check(name: string, held: boolean, seen: string): void {
    this.#checks.push({ name, held, seen });
    if (!held && this.#isControl) throw new Caught(name);
  }

  /** Something measured, for the report. */
  fact(name: string, value: string | number): void {
    this.#facts[name] = value;
  }

  get checks(): readonly Check[] {
    return this.#checks;
  }

  get facts(): Readonly<Record<string, string | number>> {
    return this.#facts;
  }

  get violations(): readonly Check[] {
    return this.#checks.filter((check) => !check.held);
  }
}

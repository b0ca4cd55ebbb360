/**
 * arms: faults that wait for a call of the program, so that a crash falls between exactly these two steps of a protocol and not somewhere in the seconds
 * between two.
 */
import type { Call, Injection, Injector } from './injection.js';
import type { RunningProgram } from './world.js';

export type ArmedFault =
  /** The process that makes the call dies. */
  | { readonly kind: 'kill' }
  | { readonly kind: 'kill-agent' }
  | { readonly kind: 'power-loss'; readonly downMs: number }
  | { readonly kind: 'crash-server'; readonly downMs: number; readonly graceMs: number }
  | { readonly kind: 'pause'; readonly ms: number }
  | { readonly kind: 'partition'; readonly ms: number }
  | { readonly kind: 'fail'; readonly code: string }
  /** The call takes effect, and is answered late. */
  | { readonly kind: 'delay'; readonly ms: number };

export interface Arm {
  /** Beginning of the call's site: `publish:`, `claim:symlink`. */
  readonly site: string;
  /** Calls that pass before. */
  readonly skip: number;
  /** Whether the call takes effect before its process dies, or it fails. */
  readonly executed: boolean;
  readonly fault: ArmedFault;
}

/** Faults that strike a host rather than the call; they come as soon as the call was made, or has taken effect. */
export type Strike = (fault: Exclude<ArmedFault, { kind: 'kill' | 'fail' | 'delay' }>) => void;

export class Arms {
  readonly #strike: Strike;
  #waiting: { readonly arm: Arm; left: number }[] = [];

  constructor(strike: Strike) {
    this.#strike = strike;
  }

  add(arm: Arm): void {
    this.#waiting.push({ arm, left: arm.skip });
  }

  clear(): void {
    this.#waiting = [];
  }

  /** @param program the one whose calls are looked at, once it is there */
  injector(program: () => RunningProgram | undefined): Injector {
    return (call) => {
      const arm = this.#waiting.length > 0 ? this.#hit(call) : undefined;
      return arm && this.#inject(arm, program());
    };
  }

  #hit({ site }: Call): Arm | undefined {
    const found = this.#waiting.find(({ arm }) => site.startsWith(arm.site));
    if (!found || found.left-- > 0) return undefined;
    this.#waiting.splice(this.#waiting.indexOf(found), 1);
    return found.arm;
  }

  #inject({ fault, executed }: Arm, program: RunningProgram | undefined): Injection | undefined {
    switch (fault.kind) {
      case 'fail':
        return { kind: 'fail', code: fault.code, executed };
      case 'kill':
        return { kind: 'kill', executed };
      case 'delay':
        return { kind: 'delay', ms: fault.ms, executed: true };
      case 'power-loss':
        program?.process.onEnd(() => {
          this.#strike(fault);
        });
        return { kind: 'kill', executed };
      default:
        this.#strike(fault);
        return undefined;
    }
  }
}

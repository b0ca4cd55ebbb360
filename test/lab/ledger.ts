/**
 * ledger: what is known from outside about one TPM: what was written into it on which host, and what was acknowledged as being on the share.
 *
 * It lives in the lab, so a guest's power cut takes nothing of it. Values only rise while a TPM is used as it should be; a host that goes
 * on after it was cut off makes a branch of its own.
 */
import type { Host } from './machines/host.js';

export interface Acknowledgement {
  readonly host: string;
  readonly value: number;
  readonly slot: number;
}

export class Ledger {
  readonly #valueOf = new Map<string, number>();
  readonly #begun = new Map<string, number>();
  readonly #written = new Map<string, number>();
  readonly #acknowledged: Acknowledgement[] = [];
  /** What was acknowledged before the writer had said what it had written. */
  #early: { readonly host: Host; readonly digest: string; readonly slot: number }[] = [];

  writing(host: Host, value: number): void {
    this.#begun.set(host.name, value);
  }

  wrote(host: Host, value: number, digest: string): void {
    this.#valueOf.set(digest, value);
    this.#written.set(host.name, value);
    const early = this.#early;
    this.#early = [];
    for (const { host, digest, slot } of early) this.acknowledged(host, digest, slot);
  }

  /** A state of which no value is known, or not yet (the TPM before its first), acknowledges nothing. */
  acknowledged(host: Host, digest: string, slot: number): void {
    const value = this.valueOf(digest);
    if (value === undefined) this.#early.push({ host, digest, slot });
    else this.#acknowledged.push({ host: host.name, value, slot });
  }

  /** The highest value that may be in the TPM's state: its write was begun. */
  begunOn(host: Host): number {
    return this.#begun.get(host.name) ?? 0;
  }

  writtenOn(host: Host): number {
    return this.#written.get(host.name) ?? 0;
  }

  acknowledgedOn(host: Host): number {
    return Math.max(0, ...this.#acknowledged.filter((ack) => ack.host === host.name).map((ack) => ack.value));
  }

  countOn(host: Host): number {
    return this.#acknowledged.filter((ack) => ack.host === host.name).length;
  }

  /** @param digest or its first digits */
  valueOf(digest: string | undefined): number | undefined {
    if (digest === undefined) return undefined;
    for (const [known, value] of this.#valueOf) if (known.startsWith(digest)) return value;
    return undefined;
  }
}

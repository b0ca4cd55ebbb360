/**
 * pending-capture: a domain's newest capture that the share does not have: in memory, and, once it is spooled, durable on this host.
 *
 * I1 An entry of the spool that cannot be read is reported and stays: it may be the only copy of a state.
 */
import type { Capture } from '../../model/capture.js';
import { asMirrorError, type MirrorError } from '../../model/errors.js';
import type { Slot } from '../../model/generation-name.js';
import type { DomainUuid } from '../../model/identifiers.js';
import type { LifecycleEvent } from '../../model/lifecycle-state.js';
import type { AgentContext } from '../agent-context.js';
import type { AttentionList } from '../attention.js';
import type { Prepared } from '../start/prepared.js';
import { publishNote, spoolManifest } from '../share/publish-note.js';

/** What a former run of this program left in the spool. */
export interface RecalledCapture {
  readonly digest: string;
  /** Since it was taken, by this host's wall clock: for display only. */
  readonly ageMs: number;
}

export class PendingCapture {
  readonly #context: AgentContext;
  readonly #uuid: DomainUuid;
  readonly #attention: AttentionList;
  #capture: Capture | undefined;
  /** The boot of this host in which it was read from the disk. */
  #bootId: string;
  #spooledAs: string | undefined;

  constructor(context: AgentContext, uuid: DomainUuid, attention: AttentionList) {
    this.#context = context;
    this.#uuid = uuid;
    this.#attention = attention;
    this.#bootId = context.bootId;
  }

  /** Also one that a task on the share still carries. */
  get capture(): Capture | undefined {
    return this.#capture;
  }

  get bootId(): string {
    return this.#bootId;
  }

  /** Takes up what a former run of this program spooled. */
  async recall(): Promise<RecalledCapture | undefined> {
    const { newest, damaged } = await this.#context.spool.peek(this.#uuid);
    for (const { error } of damaged) this.#report(error);
    this.#capture = newest?.capture;
    this.#spooledAs = newest?.name;
    if (!newest) return undefined;
    this.#bootId = newest.manifest.bootId;
    const ageMs = this.#context.clock.nowMs() - Date.parse(newest.manifest.time);
    return { digest: newest.capture.digest, ageMs: Math.max(0, ageMs) };
  }

  /** A newer capture; the entry in the spool stands until this one is spooled too, or published. */
  replace(capture: Capture): void {
    this.#capture = capture;
    this.#bootId = this.#context.bootId;
  }

  /** The same capture with a part that it lacked. */
  complete(capture: Capture): void {
    this.#capture = capture;
  }

  /** The one with which a new run begins, if any. */
  begin(prepared: Prepared['pending']): void {
    this.#capture = prepared?.capture;
    this.#bootId = prepared?.bootId ?? this.#context.bootId;
    this.#spooledAs = prepared?.spooledAs;
  }

  /** @param epoch the claim under which it was taken; 0 for none */
  async spool(domainName: string, epoch: Slot, diverged: boolean): Promise<LifecycleEvent> {
    const capture = this.#capture;
    if (!capture) return { kind: 'spool-failed' };
    const note = publishNote(this.#context, domainName, diverged ? 'diverged' : 'recover', this.#bootId);
    try {
      this.#spooledAs = await this.#context.spool.put(
        spoolManifest(this.#context, capture, note, epoch),
        capture,
      );
      this.#attention.clear('spool');
      return { kind: 'spooled', digest: capture.digest };
    } catch (error) {
      this.#report(asMirrorError(error));
      return { kind: 'spool-failed' };
    }
  }

  /** The share has it, so that the spool need not keep it. */
  async clear(): Promise<void> {
    const name = this.#spooledAs;
    this.#capture = undefined;
    this.#spooledAs = undefined;
    if (name === undefined) return;
    try {
      await this.#context.spool.remove(this.#uuid, name);
      this.#attention.clear('spool');
    } catch (error) {
      // Tried again after the next publish; until then it counts as published by its digest.
      this.#spooledAs ??= name;
      const { code, message } = asMirrorError(error);
      this.#context.log.warn(
        { uuid: this.#uuid, code },
        `cannot clear the spool of a published state: ${message}`,
      );
    }
  }

  #report(error: MirrorError): void {
    this.#attention.raise('spool', error);
    this.#context.log.error({ uuid: this.#uuid, code: error.code }, `spool: ${error.message}`);
  }
}

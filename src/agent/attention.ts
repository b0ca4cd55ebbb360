/**
 * attention: what an operator should look at, each item with its next step.
 */
import type { ErrorRecord, MirrorError } from '../model/errors.js';

export type Attention = Pick<ErrorRecord, 'code' | 'message' | 'next'>;

export function toAttention({ code, message, next }: MirrorError): Attention {
  return { code, message, next };
}

/** One item per topic: a new one on the same topic replaces the old, and success on a topic clears it. */
export type AttentionTopic =
  'capture' | 'share' | 'spool' | 'fence' | 'plan' | 'journal' | 'nvram' | 'strangers' | 'tpm';

export class AttentionList {
  readonly #items = new Map<AttentionTopic, Attention>();

  raise(topic: AttentionTopic, error: Attention): void {
    const { code, message, next } = error;
    this.#items.set(topic, { code, message, next });
  }

  clear(...topics: AttentionTopic[]): void {
    for (const topic of topics) this.#items.delete(topic);
  }

  get(topic: AttentionTopic): Attention | undefined {
    return this.#items.get(topic);
  }

  has(topic: AttentionTopic): boolean {
    return this.#items.has(topic);
  }

  list(): Attention[] {
    return [...this.#items.values()];
  }
}

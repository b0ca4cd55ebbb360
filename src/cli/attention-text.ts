/**
 * attention-text: what needs attention, for people: each thing once, with its next step, and whom else it concerns.
 */
import type { Attention } from '../agent/attention.js';
import { painter } from './paint.js';
import { foldedText, printable } from './text-table.js';

export interface Concern extends Attention {
  /** Name of what it concerns; '' for the whole host or share. */
  readonly whose: string;
}

/** Of those that something concerns as well. */
const NAMED_MAX = 5;

/** An outage troubles every domain in the same way: what has one code and one next step is told once. */
export function attentionText(concerns: readonly Concern[], columns: number, coloured: boolean): string {
  const paint = painter(coloured);
  return grouped(concerns)
    .map(([{ whose, code, message, next }, ...others]) => {
      const title = whose === '' ? '' : `${printable(whose)}: `;
      const what = foldedText(`${title}${code}: ${printable(message)}`, columns, 0);
      const also = alsoText(new Set(others.map((other) => other.whose).filter((name) => name !== whose)));
      return `${paint('yellow', what.trimEnd())}\n${foldedText(printable(next), columns, 2)}${also && foldedText(also, columns, 2)}`;
    })
    .join('');
}

function grouped(concerns: readonly Concern[]): [Concern, ...Concern[]][] {
  const groups = new Map<string, [Concern, ...Concern[]]>();
  for (const concern of concerns) {
    const key = JSON.stringify([concern.code, concern.next]);
    const group = groups.get(key);
    if (group) group.push(concern);
    else groups.set(key, [concern]);
  }
  return [...groups.values()];
}

function alsoText(names: ReadonlySet<string>): string {
  if (names.size === 0) return '';
  const named = [...names].slice(0, NAMED_MAX).map(printable);
  const rest = names.size - named.length;
  return `the same: ${named.join(', ')}${rest > 0 ? ` and ${String(rest)} more` : ''}`;
}

/**
 * lost-parts: what an operator is told where a generation lacks what is beside its TPM, because the volume has lost it.
 */
import type { Generation } from '../volume/share-store.js';
import type { Terminal } from './environment.js';

export function tellLost(terminal: Pick<Terminal, 'err'>, { name, lost }: Generation): void {
  if (!lost) return;
  terminal.err(
    `generation ${String(name.slot)} is its TPM alone: what was beside it is lost (${lost.message})\n`,
  );
}

/**
 * terminal: this process's own input and output.
 */
import type { Terminal } from '../cli/environment.js';
import { safeText } from '../cli/safe-text.js';
import { MirrorError } from '../model/errors.js';

export const terminal: Terminal = {
  out: (text) => {
    process.stdout.write(safeText(text, terminal.isColoured));
  },
  err: (text) => {
    process.stderr.write(safeText(text, terminal.isColoured));
  },
  isInteractive: process.stdout.isTTY,
  isWatched: process.stderr.isTTY,
  isColoured: process.stdout.isTTY && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb',
  get columns() {
    return process.stdout.columns || 80;
  },
  get rows() {
    return process.stdout.rows || 24;
  },
};

/**
 * Standard input to its end.
 *
 * @throws MirrorError `USAGE` when it is longer than `bytesMax`
 */
export async function readInput(bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= bytesMax) chunks.push(chunk);
  }
  if (length <= bytesMax) return Buffer.concat(chunks).toString('utf8');
  throw new MirrorError('USAGE', `standard input has ${length} bytes, expected at most ${bytesMax}`, {
    next: 'give the command the input that its help names',
  });
}

/**
 * report-error: a failure as its reader gets it: one line, and a second one with the next step.
 */
import { asMirrorError } from '../model/errors.js';
import type { Terminal } from './environment.js';
import { printable } from './text-table.js';

/** @returns the exit status that goes with it */
export function reportError(terminal: Terminal, error: unknown): number {
  terminal.err(errorText(error));
  return asMirrorError(error).exitStatus;
}

export function errorText(error: unknown): string {
  const { code, message, next } = asMirrorError(error);
  return `swtpm-mirror: ${code}: ${printable(message)}\n  ${printable(next)}\n`;
}

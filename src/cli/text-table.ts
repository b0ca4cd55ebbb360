/**
 * text-table: rows of text in columns, fitted to the terminal's width, in display cells. Characters
 * that would move the cursor are shown as `?`.
 */
import { beginningOf, cellsOf, endOf, paddedTo } from './display-cells.js';

const GAP = '  ';
/** No column is made narrower for the others. */
const WIDTH_MIN = 8;
/** C0 and C1 controls and the bidirectional marks: a domain's name comes from outside. */
const UNSAFE = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

export function printable(text: string): string {
  return text.replace(UNSAFE, '?');
}

/**
 * @param columns width to cut lines to, cells; 0 for no limit
 * @param least by column, the width below which it does not give way
 */
export function textTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  columns: number,
  least: readonly number[] = [],
): string {
  const lines = [header, ...rows].map((row) => row.map(printable));
  const natural = header.map((_, column) => Math.max(...lines.map((line) => cellsOf(line[column] ?? ''))));
  const widths = columns > 0 ? fitted(natural, columns, least) : natural;
  const format = (line: readonly string[]): string => {
    const text = line
      .map((cell, column) => paddedTo(shortened(cell, widths[column] ?? 0), widths[column] ?? 0))
      .join(GAP)
      .trimEnd();
    return columns > 0 && cellsOf(text) > columns ? `${beginningOf(text, columns - 1)}…` : text;
  };
  return lines.map((line) => `${format(line)}\n`).join('');
}

/** The widest column gives way first: one long name must not push out what a line is looked at for. */
function fitted(natural: readonly number[], columns: number, least: readonly number[]): number[] {
  const widths = [...natural];
  let excess = widths.reduce((sum, width) => sum + width, GAP.length * (widths.length - 1)) - columns;
  for (; excess > 0; excess--) {
    const yielding = widths.map((width, column) => (width > (least[column] ?? WIDTH_MIN) ? width : 0));
    const widest = Math.max(...yielding);
    if (widest === 0) break;
    widths[yielding.indexOf(widest)] = widest - 1;
  }
  return widths;
}

/** The middle goes: names that begin alike are told apart by their ends. */
function shortened(text: string, width: number): string {
  if (cellsOf(text) <= width) return text;
  const end = Math.floor((width - 1) / 2);
  return `${beginningOf(text, width - 1 - end)}…${endOf(text, end)}`;
}

/**
 * A paragraph in lines of at most `columns` cells, each indented; a longer word stands in a line of its own.
 *
 * @param columns 0 for no limit
 */
export function foldedText(text: string, columns: number, indent: number): string {
  const margin = ' '.repeat(indent);
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    const fits = columns === 0 || indent + cellsOf(longer) <= columns;
    if (!fits && line !== '') lines.push(line);
    line = fits || line === '' ? longer : word;
  }
  return [...lines, line].map((each) => `${margin}${each}\n`).join('');
}

/** `3.0 s`, `20 s`, `2 min`, `5 h`, `3 d`. */
export function shortDuration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  const hours = seconds / 3600;
  if (hours < 2) return `${(seconds / 60).toFixed(0)} min`;
  return hours < 48 ? `${hours.toFixed(0)} h` : `${(hours / 24).toFixed(0)} d`;
}

/** `1 volume`, `3 copies`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${String(count)} ${count === 1 ? one : many}`;
}

/** From whom a volume was taken. @param silentMs age of that host's last heartbeat; none where it never had one */
export function takenText(from: string, silentMs: number | null | undefined): string {
  const silence =
    silentMs === null || silentMs === undefined
      ? 'which had no heartbeat'
      : `silent for ${shortDuration(silentMs)}`;
  return `taken from ${from}, ${silence}`;
}

/** An RFC 3339 time as a table shows it: `2026-03-01 12:00:00Z`. */
export function displayTime(time: string): string {
  return time.replace('T', ' ').replace(/\.\d+Z$/, 'Z');
}

/**
 * screen: a text on a terminal that is shown again and again in place.
 *
 * What stood on the screen before is scrolled away rather than overwritten. Then every line is overwritten and cleared to its end, so that nothing flickers, and
 * what is longer than the screen is cut, so that nothing scrolls. Nothing of the terminal is changed: whoever ends the program finds the cursor below the text.
 */
import { beginningOf, cellsOf } from './display-cells.js';

const HOME = '\u001b[H';
/** What every frame begins with. */
export const FRAME_BEGINNING = HOME;
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';
/** Takes no room. */
// eslint-disable-next-line no-control-regex
const COLOUR = /(\u001b\[\d+m)/;

/** What is printed once, before the first frame. */
export function clearing(rows: number): string {
  return '\n'.repeat(rows);
}

/**
 * @param sections of the text; where they do not fit, each gets its share of the screen, so that a long one does not push out those below it
 * @param rows of the screen; the last one is the cursor's
 */
export function frame(
  sections: readonly string[],
  { rows, columns }: { readonly rows: number; readonly columns: number },
): string {
  const texts = sections.filter((text) => text !== '').map((text) => text.trimEnd().split('\n'));
  const room = shares(
    texts.map((lines) => lines.length),
    Math.max(rows - 1, texts.length),
  );
  const shown = texts.flatMap((lines, at) => cut(lines, room[at] ?? 0));
  const lines = shown.map((line) => `${narrowed(line, columns)}${CLEAR_LINE}\n`);
  return `${HOME}${lines.join('')}${CLEAR_BELOW}`;
}

/** How many lines each gets: as many as it needs, or the same as every other that does not get them. */
function shares(lengths: readonly number[], room: number): number[] {
  const given = lengths.map(() => 0);
  const byLength = lengths.map((length, at) => ({ length, at })).sort((a, b) => a.length - b.length);
  let left = room;
  byLength.forEach(({ length, at }, served) => {
    const fair = Math.floor(left / (byLength.length - served));
    given[at] = Math.min(length, fair);
    left -= given[at];
  });
  return given;
}

function cut(lines: readonly string[], room: number): string[] {
  if (lines.length <= room) return [...lines];
  const whole = Math.max(room - 1, 0);
  return [...lines.slice(0, whole), `… and ${String(lines.length - whole)} more lines`];
}

/** A line that the terminal would wrap would make it scroll. */
function narrowed(line: string, columns: number): string {
  let left = columns;
  return line
    .split(COLOUR)
    .map((part) => {
      if (COLOUR.test(part)) return part;
      const shown = beginningOf(part, left);
      left -= cellsOf(shown);
      return shown;
    })
    .join('');
}

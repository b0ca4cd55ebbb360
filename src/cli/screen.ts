/**
 * screen: a text on a terminal that is shown again and again in place.
 *
 * Every line is overwritten and then cleared to its end, so that nothing flickers, and what is longer than the screen is cut, so that nothing scrolls. Nothing
 * of the terminal is changed: whoever ends the program finds the cursor below the text.
 */
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** @param rows of the screen; the last one is the cursor's */
export function frame(text: string, rows: number): string {
  const lines = text.trimEnd().split('\n');
  const room = Math.max(rows - 1, 2);
  const cut = lines.length - room + 1;
  const shown =
    lines.length <= room ? lines : [...lines.slice(0, room - 1), `… and ${String(cut)} more lines`];
  return `${HOME}${shown.map((line) => `${line}${CLEAR_LINE}\n`).join('')}${CLEAR_BELOW}`;
}

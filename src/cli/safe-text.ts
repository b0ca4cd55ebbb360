/**
 * safe-text: what may go to a terminal. The last gate of all that this program prints, whoever chose the words in it.
 *
 * Names, reasons and paths come from the share, from libvirt and from files. A control character in
 * one of them could move the cursor, rename the window, or be typed for the operator.
 *
 * I1 Of control and bidirectional characters, only newlines and tabs pass, and, where the terminal
 *    takes colours, this program's own colours; a frame of `--watch` may move its own cursor.
 * I2 JSON stays JSON: what is no text for a terminal is escaped there, and lost nowhere.
 */
import { FRAME_BEGINNING } from './screen.js';

/** Controls but newline and tab, and the marks that turn the direction of what follows. */
// eslint-disable-next-line no-control-regex -- that they do not pass is the point
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
/** As `paint.ts` writes them. */
// eslint-disable-next-line no-control-regex -- the escapes are our own
const COLOUR = /(\u001b\[\d{1,2}m)/;
// eslint-disable-next-line no-control-regex -- the escapes are our own
const COLOUR_OR_CURSOR = /(\u001b\[(?:\d{1,2}m|[HJK]))/;

/** @param coloured whether the terminal takes escapes at all */
export function safeText(text: string, coloured: boolean): string {
  if (/^[[{]/.test(text)) return text.replace(UNSAFE, escaped);
  const own = text.startsWith(FRAME_BEGINNING) ? COLOUR_OR_CURSOR : COLOUR;
  if (!coloured && own === COLOUR) return text.replace(UNSAFE, '?');
  return text
    .split(own)
    .map((part, at) => (at % 2 === 1 ? part : part.replace(UNSAFE, '?')))
    .join('');
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

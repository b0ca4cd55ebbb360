/**
 * display-cells: text as a terminal shows it, in cells: a Chinese character or an emoji takes two,
 * a combining mark none.
 */
import stringWidth from 'string-width';

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });
/** Most text is of one cell a character, and is not taken apart. */
const PLAIN = /^[\u0020-\u007e]*$/;

/** How many cells a text takes. */
export function cellsOf(text: string): number {
  return PLAIN.test(text) ? text.length : stringWidth(text);
}

/** The beginning of a text, of at most `cells` cells. Nothing that is shown as one is taken apart. */
export function beginningOf(text: string, cells: number): string {
  return PLAIN.test(text) ? text.slice(0, Math.max(cells, 0)) : fitting(graphemesOf(text), cells).join('');
}

/** The end of a text, of at most `cells` cells. */
export function endOf(text: string, cells: number): string {
  if (PLAIN.test(text)) return text.slice(text.length - Math.min(Math.max(cells, 0), text.length));
  return fitting(graphemesOf(text).reverse(), cells).reverse().join('');
}

/** The text and as many blanks as make `cells` of it. */
export function paddedTo(text: string, cells: number): string {
  return text + ' '.repeat(Math.max(cells - cellsOf(text), 0));
}

function graphemesOf(text: string): string[] {
  return [...segmenter.segment(text)].map(({ segment }) => segment);
}

function fitting(graphemes: readonly string[], cells: number): string[] {
  let left = cells;
  const end = graphemes.findIndex((grapheme) => (left -= cellsOf(grapheme)) < 0);
  return end < 0 ? [...graphemes] : graphemes.slice(0, end);
}

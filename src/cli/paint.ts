/**
 * paint: colour with a meaning: red for what is broken, yellow for what needs attention, green for what is well. Never the only sign of it.
 */
export type Colour = 'red' | 'yellow' | 'green';
export type Paint = (colour: Colour, text: string) => string;

const CODES: Readonly<Record<Colour, number>> = { red: 31, yellow: 33, green: 32 };

export function painter(coloured: boolean): Paint {
  return (colour, text) => (coloured ? `\u001b[${String(CODES[colour])}m${text}\u001b[0m` : text);
}

/** Colours the rows of a table below its header, each as a whole, so that its columns stay where they are. */
export function paintRows(
  table: string,
  colours: readonly (Colour | undefined)[],
  coloured: boolean,
): string {
  const paint = painter(coloured);
  const [header = '', ...rows] = table.trimEnd().split('\n');
  const painted = rows.map((row, at) => {
    const colour = colours[at];
    return colour ? paint(colour, row) : row;
  });
  return [header, ...painted].map((line) => `${line}\n`).join('');
}

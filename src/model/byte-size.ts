/**
 * byte-size: amounts of storage as people write them, `64KiB`, `256MiB`, `2GiB`, to bytes and back.
 */

const UNITS: readonly (readonly [name: string, bytes: number])[] = [
  ['TiB', 1024 ** 4],
  ['GiB', 1024 ** 3],
  ['MiB', 1024 ** 2],
  ['KiB', 1024],
  ['B', 1],
];
const SIZE = /^(\d{1,12})(B|KiB|MiB|GiB|TiB)$/;

/** Bytes, or `undefined` when `text` is not a whole number with a binary unit. */
export function parseByteSize(text: string): number | undefined {
  const [, amount, name] = SIZE.exec(text) ?? [];
  const unit = UNITS.find((candidate) => candidate[0] === name);
  return unit === undefined ? undefined : Number(amount) * unit[1];
}

/** The shortest exact form: `1536MiB`, not `1.5GiB`. */
export function formatByteSize(sizeBytes: number): string {
  for (const [name, bytes] of UNITS) {
    if (sizeBytes >= bytes && sizeBytes % bytes === 0) return `${sizeBytes / bytes}${name}`;
  }
  return `${sizeBytes}B`;
}

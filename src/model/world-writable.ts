/**
 * world-writable: whether everybody on a host can exchange what stands under a name.
 */
const OTHERS_WRITE = 0o002;
const STICKY = 0o1000;
const KIND = 0o170000;
const DIRECTORY = 0o040000;

/** @param mode as `stat` gives it, kind included. In a sticky directory only owners exchange names. */
export function isWorldWritable(mode: number): boolean {
  if ((mode & OTHERS_WRITE) === 0) return false;
  return (mode & KIND) !== DIRECTORY || (mode & STICKY) === 0;
}

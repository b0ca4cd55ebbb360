/**
 * plain-path: an absolute path as a configuration gives it. Slashes that mean nothing are dropped, so that equal paths are equal texts.
 */

/** @returns `undefined` for a path that is not absolute, is the root, or has `.` or `..` in it */
export function plainPath(text: string): string | undefined {
  const names = text.split('/').filter((name) => name !== '');
  const isPlain = text.startsWith('/') && !text.includes('\0') && !names.some((name) => /^\.\.?$/.test(name));
  return isPlain && names.length > 0 ? `/${names.join('/')}` : undefined;
}

/**
 * config-file: the text of the configuration file that a command was given, or of the usual one.
 */
import { closeSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DEFAULT_CONFIG_FILE } from '../model/config-defaults.js';
import { isWorldWritable } from '../model/world-writable.js';
import { errnoOf, MirrorError } from '../model/errors.js';

/**
 * Without a file at its usual place, the built-in defaults hold; one that was asked for must be there.
 *
 * @param asked from `--config`
 * @throws MirrorError `CONFIG_INVALID`
 */
export function readConfigFile(asked: string | undefined): string {
  const path = configPath(asked);
  try {
    return readOwned(path);
  } catch (error) {
    if (error instanceof MirrorError) throw error;
    if (errnoOf(error) === 'ENOENT' && wantedPath(asked) === undefined) return '';
    throw new MirrorError('CONFIG_INVALID', `cannot read ${path}: ${errnoOf(error) ?? 'unreadable'}`, {
      next: 'give a readable file with --config, or none to use the defaults',
      cause: error,
    });
  }
}

/** Whoever can change the configuration decides what root does. */
function readOwned(path: string): string {
  const descriptor = openSync(path, 'r');
  try {
    const stat = fstatSync(descriptor);
    // /dev/null is everybody's to write to, and empty all the same.
    if (stat.isFile()) refuseWritable(path, stat.mode, 'o-w');
    refuseWritable(dirname(path), statSync(dirname(path)).mode, 'o-w');
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

function refuseWritable(path: string, mode: number, change: string): void {
  if (!isWorldWritable(mode)) return;
  throw new MirrorError('CONFIG_INVALID', `${path} can be changed by everybody on this host`, {
    next: `run \`chmod ${change} ${path}\`, and see that nobody has changed anything in it`,
  });
}

/** Which file that is. */
export function configPath(asked: string | undefined): string {
  return wantedPath(asked) ?? DEFAULT_CONFIG_FILE;
}

function wantedPath(asked: string | undefined): string | undefined {
  return asked ?? process.env['SWTPM_MIRROR_CONFIG'];
}

/**
 * config-file: the text of the configuration file that a command was given, or of the usual one.
 */
import { readFileSync } from 'node:fs';
import { DEFAULT_CONFIG_FILE } from '../model/config-defaults.js';
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
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && wantedPath(asked) === undefined) return '';
    throw new MirrorError('CONFIG_INVALID', `cannot read ${path}: ${errnoOf(error) ?? 'unreadable'}`, {
      next: 'give a readable file with --config, or none to use the defaults',
      cause: error,
    });
  }
}

/** Which file that is. */
export function configPath(asked: string | undefined): string {
  return wantedPath(asked) ?? DEFAULT_CONFIG_FILE;
}

function wantedPath(asked: string | undefined): string | undefined {
  return asked ?? process.env['SWTPM_MIRROR_CONFIG'];
}

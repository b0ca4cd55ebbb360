/**
 * doctor-keys: the check of `doctor` that concerns encryption: whether this host's keys can be used, and open what it writes.
 */
import type { Config } from '../model/config.js';
import { MirrorError } from '../model/errors.js';
import { ok, problem, warning, type Finding } from './doctor-finding.js';
import type { CliEnvironment } from './environment.js';

const CHECK = 'keys';

export async function checkKeys({ openSealing }: CliEnvironment, config: Config): Promise<Finding> {
  const { recipients, identityFile, acceptPlain } = config.encryption;
  try {
    const sealing = await openSealing(config);
    if (!sealing) return ok(CHECK, 'generations are stored in the clear, mode 0600');
    const opensItsOwn = await sealing.opensItsOwn();
    if (recipients.length === 0) {
      return warning(
        CHECK,
        'generations are stored in the clear; the key of this host opens older, encrypted ones',
        'set `encryption.recipients` to encrypt; if encryption has ended, `swtpm-mirror rekey --all --decrypt`',
      );
    }
    const set = `recipients ${sealing.recipientSet ?? ''} (${String(recipients.length)})`;
    if (opensItsOwn && acceptPlain) {
      return warning(
        CHECK,
        `generations are encrypted for ${set}, but encryption.accept_plain is on: what lies on the share in the clear is used all the same, whoever put it there`,
        'run `swtpm-mirror rekey --all` when every host encrypts, then take it out of the configuration',
      );
    }
    if (opensItsOwn) return ok(CHECK, `generations are encrypted for ${set}, and this host opens them`);
    return problem(
      CHECK,
      new MirrorError(
        'KEY_MISSING',
        identityFile === undefined
          ? `generations are encrypted for ${set}, and this host has no key: nothing can be restored here`
          : `generations are encrypted for ${set}, none of which is of a key in ${identityFile}`,
        { next: 'bring the key to this host, mode 0600, and set `encryption.identity_file` to it' },
      ),
    );
  } catch (error) {
    return problem(CHECK, error);
  }
}

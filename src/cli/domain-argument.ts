/**
 * domain-argument: a domain as a user names it, by UUID or by name.
 */
import type { Config } from '../model/config.js';
import { MirrorError } from '../model/errors.js';
import { isDomainUuid, quoted, type DomainUuid } from '../model/identifiers.js';
import type { CliEnvironment } from './environment.js';
import { findByName } from './fleet.js';

export interface WhereToLook {
  /** By the names in the volumes of the share; otherwise by what this host remembers. */
  readonly allHosts?: boolean;
}

/**
 * @throws MirrorError `NO_SUCH_DOMAIN` when no domain, or more than one, of this host bears that name
 */
export async function resolveDomain(
  environment: CliEnvironment,
  config: Config,
  argument: string,
  { allHosts }: WhereToLook = {},
): Promise<DomainUuid> {
  const lower = argument.toLowerCase();
  if (isDomainUuid(lower)) return lower;
  if (allHosts) return await onTheShare(environment, config, argument);
  const { context, close } = await environment.openContext(config, 'silent');
  try {
    const { records } = await context.journal.list();
    // A domain that has no name is not meant by an empty one, as a script's unset variable gives it.
    const [found, ...others] = records.filter((record) => argument !== '' && record.name === argument);
    if (found && others.length === 0) return found.uuid;
    throw new MirrorError(
      'NO_SUCH_DOMAIN',
      found
        ? `${String(others.length + 1)} domains of this host have the name ${quoted(argument)}`
        : `no domain of this host has the name ${quoted(argument)}`,
      {
        next: 'give its UUID, or --all-hosts where the command takes it; `swtpm-mirror status --all-hosts` lists every volume',
      },
    );
  } finally {
    await close();
  }
}

async function onTheShare(environment: CliEnvironment, config: Config, name: string): Promise<DomainUuid> {
  const { share, close } = await environment.openShare(config);
  try {
    return await findByName(share, config, name);
  } finally {
    await close();
  }
}

/**
 * rekey: `swtpm-mirror rekey [DOMAIN] [--all]`: encrypt what the share holds for the recipients of the configuration: after a key was changed,
 * or when encryption begins or ends. Domains run on. Run again after an interruption, it passes over what is done.
 */
import type { Command } from 'commander';
import type { Sealing } from '../bundle/sealing.js';
import type { Config } from '../model/config.js';
import { asMirrorError, MirrorError, type ErrorCode } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import type { ShareService } from '../volume/share-administration.js';
import { resolveDomain, type WhereToLook } from './domain-argument.js';
import type { CliEnvironment } from './environment.js';
import { command, withAllHosts, type CommonOptions } from './options.js';
import { Interruptible, Progress } from './progress.js';
import { counted } from './text-table.js';

type RekeyOptions = CommonOptions &
  WhereToLook & {
    readonly all?: boolean;
    readonly decrypt?: boolean;
    readonly force?: boolean;
    readonly dryRun?: boolean;
  };

/** What was done in one volume; counts of files. */
interface Rekeyed {
  readonly uuid: DomainUuid;
  readonly rewritten: number;
  readonly already: number;
  readonly unopened: number;
  readonly damaged: readonly { readonly path: string; readonly code: ErrorCode; readonly message: string }[];
}

export function rekeyCommand(environment: CliEnvironment): Command {
  return withAllHosts(
    command('rekey [domain]', 'encrypt what the share holds for the recipients of the configuration'),
  )
    .option('--all', 'every volume of the share')
    .option('--dry-run', 'only tell what would be written anew')
    .option('--decrypt', 'write it in the clear: `encryption.recipients` is empty')
    .option('--force', 'also for recipients whose keys this host has not')
    .action(async (argument: string | undefined, options: RekeyOptions) => {
      const config = await environment.loadConfig(options.config);
      if ((argument === undefined) !== (options.all ?? false)) {
        throw new MirrorError('USAGE', 'expected either a domain or --all', {
          next: 'see `swtpm-mirror rekey --help`',
        });
      }
      await expectMeant(await environment.openSealing(config), options);
      const uuid =
        argument === undefined ? undefined : await resolveDomain(environment, config, argument, options);
      const { share, close } = await environment.openShare(config);
      try {
        const volumes = uuid ? [uuid] : await volumesOf(share, config);
        const done = await rekeyAll(environment, share, volumes, options);
        if (options.json) environment.terminal.out(`${JSON.stringify(done, null, 2)}\n`);
        refuseLeftOver(done);
        sayWhenDone(environment, config, options);
      } finally {
        await close();
      }
    });
}

/** Nobody loses access, or secrecy, by an empty setting. */
async function expectMeant(sealing: Sealing | undefined, { decrypt, force }: RekeyOptions): Promise<void> {
  const encrypts = sealing?.recipientSet !== undefined;
  if (encrypts === (decrypt ?? false)) {
    throw new MirrorError(
      'USAGE',
      encrypts
        ? 'with --decrypt, `encryption.recipients` is expected to be empty'
        : 'there are no `encryption.recipients`, so that everything would be written in the clear',
      {
        next: encrypts
          ? 'leave --decrypt out, or empty the list'
          : 'set them, or say --decrypt if that is meant',
      },
    );
  }
  if (!encrypts || force || (await sealing.opensItsOwn())) return;
  throw new MirrorError(
    'KEY_MISSING',
    'none of `encryption.recipients` is of a key that this host has: it could not read what it wrote',
    {
      next: 'set `encryption.identity_file` to a key of one of them, or run it with --force if that is meant',
    },
  );
}

async function volumesOf(share: ShareService, { timing }: Config): Promise<readonly DomainUuid[]> {
  const { hostExpiryMs } = timing;
  return (await share.survey({ hostExpiryMs, shareId: undefined })).volumes;
}

async function rekeyAll(
  environment: CliEnvironment,
  share: ShareService,
  volumes: readonly DomainUuid[],
  options: RekeyOptions,
): Promise<Rekeyed[]> {
  const done: Rekeyed[] = [];
  const progress = new Progress(environment);
  const interruptible = new Interruptible(environment);
  try {
    for (const [at, uuid] of volumes.entries()) {
      const soFar = `${String(at)} of ${counted(volumes.length, 'volume')}`;
      if (options.all) progress.show(soFar);
      const volume = await interruptible.step(rekeyVolume(share, uuid, options), () => ({
        message: `interrupted: ${soFar} done`,
        next: 'run it again: it passes over what is done',
      }));
      if (!volume) continue;
      done.push(volume);
      if (!options.json) progress.out(textOf(volume, options.dryRun ?? false));
    }
  } finally {
    progress.clear();
  }
  return done;
}

/** @returns `undefined` for one that was purged since it was listed */
async function rekeyVolume(
  share: ShareService,
  uuid: DomainUuid,
  { dryRun = false, all = false }: RekeyOptions,
): Promise<Rekeyed | undefined> {
  const sum = { uuid, rewritten: 0, already: 0, unopened: 0, damaged: [] as Rekeyed['damaged'][number][] };
  try {
    for (let after: string | undefined = ''; after !== undefined;) {
      const step = await share.reseal({ uuid, after, dryRun });
      sum.rewritten += step.rewritten;
      sum.already += step.already;
      sum.unopened += step.unopened;
      sum.damaged.push(
        ...step.damaged.map(({ path, error: { code, message } }) => ({ path, code, message })),
      );
      after = step.next;
    }
    return sum;
  } catch (error) {
    if (asMirrorError(error).code === 'NO_SUCH_DOMAIN' && all) return undefined;
    throw error;
  }
}

function textOf({ uuid, rewritten, already, unopened, damaged }: Rekeyed, dryRun: boolean): string {
  const lines = [
    `${uuid}: ${String(rewritten)} ${dryRun ? 'to be written anew' : 'written anew'}, ${String(already)} as they should be`,
    ...(unopened > 0 ? [`  ${String(unopened)} left as they are: no key of this host opens them`] : []),
    ...damaged.map(({ path, message }) => `  ${path} left as it is: ${message}`),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/** After a run that left nothing over on the whole share: what the change-over was kept open with can go. */
function sayWhenDone(
  { terminal }: CliEnvironment,
  { encryption: { recipients, acceptPlain } }: Config,
  { all, dryRun }: RekeyOptions,
): void {
  if (!all || dryRun || !acceptPlain || recipients.length === 0) return;
  terminal.err(
    'nothing on the share is in the clear any more: when every host has `encryption.recipients`, take `encryption.accept_plain` out of the configuration of each, and restart the agents\n',
  );
}

function refuseLeftOver(done: readonly Rekeyed[]): void {
  const unopened = done.reduce((sum, volume) => sum + volume.unopened, 0);
  if (unopened > 0) {
    throw new MirrorError(
      'KEY_MISSING',
      `${String(unopened)} files are encrypted for keys that this host has not`,
      {
        next: 'add the old key to the file of `encryption.identity_file`, and run it again',
      },
    );
  }
  const left = done.flatMap((volume) => volume.damaged);
  const plain = left.filter(({ code }) => code === 'PLAIN_REFUSED').length;
  if (plain > 0) {
    throw new MirrorError(
      'PLAIN_REFUSED',
      `${counted(plain, 'file')} in the clear would be sealed as if this host had written them`,
      {
        next: 'if they are from before encryption began, set `encryption.accept_plain = true` and run it again; if not, somebody else wrote to the share',
      },
    );
  }
  const damaged = left.length;
  if (damaged === 0) return;
  throw new MirrorError(
    'GENERATION_DAMAGED',
    `${String(damaged)} files are damaged, and were left as they are`,
    {
      next: 'see `swtpm-mirror verify --all`; the others are done',
    },
  );
}

/**
 * take-over: `swtpm-mirror take-over DOMAIN [--force]`: make this host the holder of a volume, without starting anything.
 */
import type { Command } from 'commander';
import { MirrorError } from '../model/errors.js';
import type { ClaimOutcome } from '../volume/share-store.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';
import { shortDuration } from './text-table.js';

type TakeOverOptions = CommonOptions & { readonly force?: boolean };

export function takeOverCommand(environment: CliEnvironment): Command {
  return command('take-over <domain>', 'acquire the volume from an expired host, or revive a forgotten one')
    .option('--force', 'also from a host that is alive; what it writes from now on is kept as diverged')
    .action(async (argument: string, options: TakeOverOptions) => {
      const { terminal } = environment;
      const config = await environment.loadConfig(options.config);
      const uuid = await resolveDomain(environment, config, argument);
      const { context, close } = await environment.openContext(config, 'silent');
      try {
        const outcome = await context.locks.withDomain(uuid, async () =>
          context.share.claim({
            uuid,
            reason: options.force ? 'forced' : 'take-over',
            scope: options.force ? 'forced' : 'expired',
            hostExpiryMs: config.timing.hostExpiryMs,
            revive: true,
            shareId: await context.knownShare.read(),
          }),
        );
        const { epoch, from } = expectClaimed(outcome, uuid);
        const result = { uuid, epoch, from: from?.host ?? null };
        const previous = from && from.host !== config.host ? `, taken from ${from.host}` : '';
        terminal.out(options.json ? `${JSON.stringify(result)}\n` : `held by ${config.host} in epoch ${String(epoch)}${previous}\n`);
      } finally {
        await close();
      }
    });
}

function expectClaimed(outcome: ClaimOutcome, uuid: string): Extract<ClaimOutcome, { kind: 'claimed' }> {
  if (outcome.kind === 'claimed') return outcome;
  const holder = outcome.kind === 'held' ? outcome.holder : undefined;
  const age = holder?.heartbeatAgeMs === undefined ? 'unknown' : shortDuration(holder.heartbeatAgeMs);
  throw new MirrorError('HELD_ELSEWHERE', `host ${holder?.host ?? '?'} holds ${uuid} and is alive (heartbeat ${age} ago)`, {
    next: 'stop the domain there; only if it certainly does not run there, use --force',
  });
}

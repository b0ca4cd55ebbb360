/**
 * take-over: `swtpm-mirror take-over DOMAIN [--force]`: make this host the holder of a volume, without starting anything.
 */
import type { Command } from 'commander';
import type { AgentContext } from '../agent/agent-context.js';
import { lookAtVolume } from '../agent/share/volume-look.js';
import { MirrorError } from '../model/errors.js';
import type { DomainUuid } from '../model/identifiers.js';
import { takeOverIn } from '../model/take-over.js';
import { noSuchVolume } from '../volume/fetch.js';
import type { ClaimOutcome } from '../volume/share-store.js';
import { resolveDomain } from './domain-argument.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';
import { shortDuration, takenText } from './text-table.js';

const WATCH_EVERY_MS = 500;
/** Beyond the expiry, so that the last look is within it. */
const WATCH_SPARE_MS = 2_000;

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
        const outcome = await context.locks.withDomain(uuid, () =>
          claimWatched(environment, context, uuid, options.force ?? false),
        );
        const { epoch, from, log } = expectClaimed(outcome, uuid);
        const taken = takeOverIn(log);
        const result = { uuid, epoch, from: from?.host ?? null, silentMs: taken?.silentMs ?? null };
        const previous = taken ? `, ${takenText(taken.from, taken.silentMs)}` : '';
        terminal.out(
          options.json
            ? `${JSON.stringify(result)}\n`
            : `held by ${config.host} in epoch ${String(epoch)}${previous}\n`,
        );
      } finally {
        await close();
      }
    });
}

/** Where no clock tells whether the holder lives, it is watched for as long as it takes to see. */
async function claimWatched(
  { terminal, pause, clock }: CliEnvironment,
  context: AgentContext,
  uuid: DomainUuid,
  force: boolean,
): Promise<ClaimOutcome> {
  const { hostExpiryMs } = context.config.timing;
  const untilMs = clock.monotonicMs() + hostExpiryMs + WATCH_SPARE_MS;
  let watchedMs = 0;
  let isTold = false;
  for (;;) {
    const outcome = await claim(context, uuid, force);
    const holder = outcome.kind === 'held' ? outcome.holder : undefined;
    const silentMs = holder?.heartbeatAgeMs ?? 0;
    const livesOn = silentMs < watchedMs || clock.monotonicMs() > untilMs;
    if (!holder?.isWatched || livesOn) return outcome;
    if (!isTold) {
      isTold = true;
      terminal.err(
        `watching host ${holder.host} for ${shortDuration(hostExpiryMs)}: no clock tells whether it lives\n`,
      );
    }
    watchedMs = silentMs;
    await pause(WATCH_EVERY_MS);
  }
}

/** A claim makes the volume that it finds missing; a mistyped UUID must not. */
async function claim(context: AgentContext, uuid: DomainUuid, force: boolean): Promise<ClaimOutcome> {
  const { shareId, volume } = await lookAtVolume(context, uuid);
  if (!volume) throw noSuchVolume(uuid);
  const reason = force ? 'forced' : 'take-over';
  return await context.share.claim({
    uuid,
    reason,
    scope: force ? 'forced' : 'expired',
    hostExpiryMs: context.config.timing.hostExpiryMs,
    revive: true,
    shareId,
  });
}

function expectClaimed(outcome: ClaimOutcome, uuid: string): Extract<ClaimOutcome, { kind: 'claimed' }> {
  if (outcome.kind === 'claimed') return outcome;
  const holder = outcome.kind === 'held' ? outcome.holder : undefined;
  const age = holder?.heartbeatAgeMs === undefined ? 'unknown' : shortDuration(holder.heartbeatAgeMs);
  throw new MirrorError(
    'HELD_ELSEWHERE',
    `host ${holder?.host ?? '?'} holds ${uuid} and is alive (heartbeat ${age} ago)`,
    {
      next: 'stop the domain there; only if it certainly does not run there, use --force',
    },
  );
}

import t from 'tap';
import { ShareHealth } from '../../../src/agent/share/share-health.js';
import type { AgentContext } from '../../../src/agent/agent-context.js';
import { parseConfig } from '../../../src/model/config.js';
import { sleep } from '../../../src/model/environment.js';
import { MirrorError, type ErrorCode } from '../../../src/model/errors.js';
import { ManualClock } from '../../fakes/manual-clock.js';

const HEARTBEAT_MS = 5_000;
const LATENCY_MS = 3;
/** Longer than half of the default expiry. */
const SILENCE_MS = 16_000;

/** A health whose beats end as the script says, the last entry for ever. */
async function scripted(script: readonly ('ok' | 'late' | ErrorCode)[], known?: string) {
  const clock = new ManualClock();
  const beats: (string | undefined)[] = [];
  const heard: string[] = [];
  const quiet = (): undefined => undefined;
  const context = {
    clock,
    config: parseConfig('', { hostName: 'kvm-a' }),
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    knownShare: {
      read: () => Promise.resolve(known),
      write: (id: string) => {
        heard.push(`remembered ${id}`);
        return Promise.resolve();
      },
    },
    share: {
      beat: ({ shareId }: { shareId: string | undefined }) => {
        const outcome = script[Math.min(beats.length, script.length - 1)] ?? 'ok';
        beats.push(shareId);
        if (outcome === 'late') return sleep(clock, SILENCE_MS).then(() => ({ latencyMs: SILENCE_MS }));
        if (outcome === 'ok') return Promise.resolve({ latencyMs: LATENCY_MS });
        return Promise.reject(new MirrorError(outcome, `it is ${outcome}`, { next: 'look' }));
      },
      identify: () => Promise.resolve({ id: 'the-share', format: 1, createdAt: '' }),
    },
  } as unknown as AgentContext;
  const health = new ShareHealth(context, {
    returned: () => heard.push('returned'),
    lost: () => heard.push('lost'),
    unheard: () => heard.push('unheard'),
  });
  await health.start();
  return { health, clock, beats, heard };
}

t.test(
  'the share is offline after two failed beats in a row, and online again after one that goes well',
  async (t) => {
    const script = [
      'ok',
      'SHARE_TIMEOUT',
      'ok',
      'SHARE_TIMEOUT',
      'SHARE_TIMEOUT',
      'SHARE_TIMEOUT',
      'ok',
    ] as const;
    const { health, clock, heard } = await scripted(script, 'the-share');
    const states = [health.report().state];
    for (let beat = 1; beat < script.length; beat++) {
      await clock.advance(HEARTBEAT_MS);
      states.push(health.report().state);
    }
    t.same(states, ['online', 'online', 'online', 'online', 'offline', 'offline', 'online']);
    t.same(
      heard,
      ['returned', 'returned', 'lost', 'returned', 'unheard'],
      'what waits is tried again after a single failed beat too',
    );
    t.match(health.report(), { latencyMs: LATENCY_MS, beatAgeMs: 0, error: undefined });
  },
);

t.test('a share without our marker is wrong at once, and online when the right one is back', async (t) => {
  for (const code of ['SHARE_WRONG', 'SHARE_NOT_INITIALIZED', 'SHARE_VERSION', 'HOST_NAME_TAKEN'] as const) {
    const { health, clock, heard } = await scripted(['ok', code, code, 'ok'], 'the-share');
    await clock.advance(HEARTBEAT_MS);
    t.match(health.report(), { state: 'wrong', error: { code }, beatAgeMs: HEARTBEAT_MS });
    t.ok(health.isAway);
    await clock.advance(HEARTBEAT_MS);
    t.equal(health.report().state, 'wrong');
    await clock.advance(HEARTBEAT_MS);
    t.match(health.report(), { state: 'online', error: undefined });
    t.same(heard, ['returned', 'lost', 'returned', 'unheard'], code);
  }
});

t.test('a share that was never asked is not known to be away; one that did not answer is', async (t) => {
  const { health } = await scripted(['SHARE_TIMEOUT'], 'the-share');
  t.match(health.report(), { state: 'offline', beatAgeMs: undefined, id: 'the-share' });
  t.ok(health.isAway);
  const fresh = new ShareHealth({ clock: new ManualClock() } as unknown as AgentContext, {
    returned: () => undefined,
    lost: () => undefined,
    unheard: () => undefined,
  });
  t.match(fresh.report(), { state: 'offline' });
  t.notOk(fresh.isAway);
});

t.test('the first share that answers is remembered, and every beat asks for that one', async (t) => {
  const { health, clock, beats, heard } = await scripted(['ok']);
  await clock.advance(2 * HEARTBEAT_MS);
  t.same(beats, [undefined, 'the-share', 'the-share']);
  t.same(heard, ['remembered the-share', 'returned']);
  health.close();
  await clock.advance(10 * HEARTBEAT_MS);
  t.equal(beats.length, 3, 'nothing beats after the end');
});

t.test('G3: a host learns that others may have taken it for dead', async (t) => {
  const { clock, heard } = await scripted(['ok', 'SHARE_TIMEOUT', 'ok', 'late', 'ok', 'ok'], 'the-share');
  await clock.advance(2 * HEARTBEAT_MS);
  t.notMatch(heard, ['unheard'], 'a single beat that failed is soon made up for');
  heard.length = 0;
  await clock.advance(HEARTBEAT_MS + SILENCE_MS);
  t.same(heard, ['unheard'], 'nobody knows when a beat that took long was seen');
  heard.length = 0;
  await clock.advance(HEARTBEAT_MS);
  t.same(heard, ['unheard'], 'nor how long after it the next one was');
  heard.length = 0;
  await clock.advance(HEARTBEAT_MS);
  t.same(heard, []);
  clock.sleep(SILENCE_MS);
  await clock.advance(HEARTBEAT_MS);
  t.same(heard, ['unheard'], 'a machine that slept finds no time gone on its monotonic clock');
});

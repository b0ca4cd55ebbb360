import t from 'tap';
import { ShareHealth } from '../../../src/agent/share-health.js';
import type { AgentContext } from '../../../src/agent/agent-context.js';
import { parseConfig } from '../../../src/model/config.js';
import { MirrorError, type ErrorCode } from '../../../src/model/errors.js';
import { ManualClock } from '../../fakes/manual-clock.js';

const HEARTBEAT_MS = 5_000;
const LATENCY_MS = 3;

/** A health whose beats end as the script says, the last entry for ever. */
async function scripted(script: readonly ('ok' | ErrorCode)[], known?: string) {
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
        if (outcome === 'ok') return Promise.resolve({ latencyMs: LATENCY_MS });
        return Promise.reject(new MirrorError(outcome, `it is ${outcome}`, { next: 'look' }));
      },
      identify: () => Promise.resolve({ id: 'the-share', format: 1, createdAt: '' }),
    },
  } as unknown as AgentContext;
  const health = new ShareHealth(context, {
    returned: () => heard.push('returned'),
    lost: () => heard.push('lost'),
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
      ['returned', 'returned', 'lost', 'returned'],
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
    t.same(heard, ['returned', 'lost', 'returned'], code);
  }
});

t.test('a share that was never asked is not known to be away; one that did not answer is', async (t) => {
  const { health } = await scripted(['SHARE_TIMEOUT'], 'the-share');
  t.match(health.report(), { state: 'offline', beatAgeMs: undefined, id: 'the-share' });
  t.ok(health.isAway);
  const fresh = new ShareHealth({ clock: new ManualClock() } as unknown as AgentContext, {
    returned: () => undefined,
    lost: () => undefined,
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

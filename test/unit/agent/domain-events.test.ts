import t from 'tap';
import type { AgentContext } from '../../../src/agent/agent-context.js';
import { DomainEvents } from '../../../src/agent/watch/domain-events.js';
import { parseConfig } from '../../../src/model/config.js';
import { ManualClock } from '../../fakes/manual-clock.js';

interface Rig {
  readonly events: DomainEvents;
  readonly clock: ManualClock;
  /** How often the source was followed, and how often that was ended from here. */
  followed: number;
  ended: number;
  looks: number;
  /** What the look under way waits for. */
  looking: Promise<void>;
  happen: () => void;
  end: () => void;
}

function makeRig(): Rig {
  const clock = new ManualClock();
  const config = parseConfig('', { hostName: 'kvm-a' });
  const silent = (): void => undefined;
  const log = { debug: silent, info: silent, warn: silent, error: silent };
  const source = {
    follow: (onEvent: () => void, onEnd: () => void) => {
      rig.followed++;
      Object.assign(rig, { happen: onEvent, end: onEnd });
      return () => {
        rig.ended++;
      };
    },
  };
  const random = { hex: () => '', fraction: () => 1 };
  const context = { events: source, clock, config, random, log } as unknown as AgentContext;
  const events = new DomainEvents(context, async () => {
    rig.looks++;
    await rig.looking;
  });
  const none = { followed: 0, ended: 0, looks: 0, looking: Promise.resolve(), happen: silent, end: silent };
  const rig: Rig = { events, clock, ...none };
  return rig;
}

t.test('many events at once cause one look', async (t) => {
  const rig = makeRig();
  rig.events.follow();
  for (let count = 0; count < 1000; count++) rig.happen();
  await rig.clock.advance(1_000);
  t.equal(rig.looks, 1);
  rig.happen();
  await rig.clock.advance(1_000);
  t.equal(rig.looks, 2);
});

t.test('what happens while a look is under way is looked for after it', async (t) => {
  const rig = makeRig();
  let finish = (): void => undefined;
  rig.looking = new Promise((resolve) => {
    finish = resolve;
  });
  rig.events.follow();
  rig.happen();
  await rig.clock.advance(1_000);
  rig.happen();
  rig.happen();
  await rig.clock.advance(1_000);
  t.equal(rig.looks, 1, 'never two at a time');
  finish();
  await rig.clock.advance(1_000);
  t.equal(rig.looks, 2);
  await rig.clock.advance(60_000);
  t.equal(rig.looks, 2);
});

t.test('a source that has ended is followed again, less and less often', async (t) => {
  const rig = makeRig();
  rig.events.follow();
  for (let second = 0; second < 600; second++) {
    const { followed } = rig;
    rig.end();
    while (rig.followed === followed) await rig.clock.advance(250);
    if (rig.clock.monotonicMs() > 10 * 60_000) break;
  }
  t.ok(rig.followed < 40, `${rig.followed} tries in ten minutes`);
  await rig.clock.advance(60 * 60_000);
  rig.end();
  await rig.clock.advance(250);
  const { followed } = rig;
  rig.end();
  await rig.clock.advance(500);
  t.ok(rig.followed > followed, 'soon after it has lasted');
});

t.test('closed, it follows nothing and looks no more', async (t) => {
  const rig = makeRig();
  rig.events.follow();
  rig.happen();
  rig.events.close();
  rig.happen();
  rig.end();
  await rig.clock.advance(60_000);
  t.strictSame([rig.looks, rig.followed, rig.ended], [0, 1, 1]);
  t.equal(rig.clock.pending, 0);
});

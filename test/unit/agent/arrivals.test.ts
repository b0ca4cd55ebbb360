import t from 'tap';
import type { AgentContext } from '../../../src/agent/agent-context.js';
import { Arrivals } from '../../../src/agent/watch/arrivals.js';
import { parseConfig } from '../../../src/model/config.js';
import type { DomainUuid } from '../../../src/model/identifiers.js';
import { ManualClock } from '../../fakes/manual-clock.js';
import { UUID } from '../../fakes/host-rig.js';

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

interface Rig {
  readonly arrivals: Arrivals;
  readonly clock: ManualClock;
  readonly arrived: DomainUuid[];
  /** What libvirt answers. */
  answer: ReadonlySet<DomainUuid> | undefined;
  expected: DomainUuid[];
  questions: number;
}

function makeRig(): Rig {
  const clock = new ManualClock();
  const config = parseConfig('', { hostName: 'kvm-a' });
  const random = { hex: () => '', fraction: () => 1 };
  const guests = {
    list: async () => {
      rig.questions++;
      return rig.answer;
    },
  };
  const context = { clock, config, random, guests, log } as unknown as AgentContext;
  const onArrival = async (uuid: DomainUuid): Promise<void> => {
    rig.arrived.push(uuid);
    rig.expected = [];
  };
  const arrivals = new Arrivals(context, { expected: () => rig.expected, onArrival });
  const rig: Rig = { arrivals, clock, arrived: [], answer: new Set(), expected: [UUID], questions: 0 };
  return rig;
}

t.test('a domain that is on its way has arrived when libvirt says that it runs here', async (t) => {
  const rig = makeRig();
  rig.arrivals.watch();
  await rig.clock.advance(5_000);
  t.strictSame(rig.arrived, [], 'still paused, still on its way');
  rig.answer = new Set([UUID]);
  await rig.clock.advance(1_000);
  t.strictSame(rig.arrived, [UUID]);
  t.equal(rig.clock.pending, 0, 'and nobody is asked any more');
});

t.test(
  'where something is said to have happened, the next look is due at once, and no look is added',
  async (t) => {
    const rig = makeRig();
    rig.arrivals.lookNow();
    t.equal(rig.questions, 0, 'nothing is expected yet');
    rig.answer = undefined;
    rig.arrivals.watch();
    await rig.clock.advance(10 * 60_000);
    rig.answer = new Set([UUID]);
    const { questions } = rig;
    rig.arrivals.lookNow();
    rig.arrivals.lookNow();
    await rig.clock.advance(0);
    t.strictSame(rig.arrived, [UUID]);
    t.equal(rig.questions, questions + 1);
    await rig.clock.advance(1_000);
    t.equal(rig.clock.pending, 0);
    rig.arrivals.lookNow();
    t.equal(rig.questions, questions + 1);
  },
);

t.test('nobody is asked while no domain is on its way', async (t) => {
  const rig = makeRig();
  rig.expected = [];
  rig.arrivals.watch();
  await rig.clock.advance(60_000);
  t.equal(rig.questions, 0);
  rig.expected = [UUID];
  rig.answer = new Set([UUID]);
  rig.arrivals.watch();
  await rig.clock.advance(1_000);
  t.strictSame(rig.arrived, [UUID]);
});

t.test('a libvirt that cannot tell is asked less and less often, and again when it is back', async (t) => {
  const rig = makeRig();
  rig.answer = undefined;
  rig.arrivals.watch();
  await rig.clock.advance(10 * 60_000);
  t.ok(rig.questions < 40, `${rig.questions} questions in ten minutes`);
  rig.answer = new Set([UUID]);
  await rig.clock.advance(60_000);
  t.strictSame(rig.arrived, [UUID]);
});

t.test('closed, it asks no more', async (t) => {
  const rig = makeRig();
  rig.arrivals.watch();
  await rig.clock.advance(1_000);
  rig.arrivals.close();
  const { questions } = rig;
  await rig.clock.advance(60_000);
  t.equal(rig.questions, questions);
});

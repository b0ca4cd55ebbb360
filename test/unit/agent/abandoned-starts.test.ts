import t from 'tap';
import { AbandonedStarts } from '../../../src/agent/watch/abandoned-starts.js';
import type { AgentContext } from '../../../src/agent/agent-context.js';
import type { DomainUuid } from '../../../src/model/identifiers.js';
import { OTHER_UUID, UUID } from '../../fixtures/tpm-captures.js';

interface Rig {
  readonly starts: AbandonedStarts;
  readonly abandoned: DomainUuid[];
  prepared: DomainUuid[];
  byHook: boolean;
  /** What libvirt answers: which domains are shut off, and which there are beside them. */
  idle: readonly DomainUuid[] | undefined;
  active: readonly DomainUuid[];
  /** Whose swtpm is seen. */
  running: readonly DomainUuid[];
  /** While libvirt is asked. */
  meanwhile: () => void;
  questions: number;
}

function makeRig(): Rig {
  const log = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: () => undefined,
  };
  const context = {
    log,
    guests: {
      inactive: async () => {
        rig.questions++;
        rig.meanwhile();
        return rig.idle && new Set(rig.idle);
      },
      known: async () => rig.idle && new Set([...rig.idle, ...rig.active]),
    },
    running: {
      list: async () => new Set(rig.running),
      takesGuestIn: async () => undefined,
      guest: async () => 'unknown' as const,
    },
  } as unknown as AgentContext;
  const rig: Rig = {
    starts: new AbandonedStarts(context, {
      prepared: () => new Map(rig.prepared.map((uuid) => [uuid, { byHook: rig.byHook }])),
      abandoned: (uuid) => {
        rig.abandoned.push(uuid);
        rig.prepared = rig.prepared.filter((other) => other !== uuid);
      },
    }),
    abandoned: [],
    prepared: [UUID],
    byHook: false,
    idle: [UUID, OTHER_UUID],
    active: [],
    running: [],
    meanwhile: () => undefined,
    questions: 0,
  };
  return rig;
}

t.test('a start is over when libvirt says twice that the prepared domain is shut off', async (t) => {
  const rig = makeRig();
  await rig.starts.look();
  t.strictSame(rig.abandoned, []);
  await rig.starts.look();
  t.strictSame(rig.abandoned, [UUID]);
  await rig.starts.look();
  t.strictSame(rig.abandoned, [UUID], 'once');
  t.equal(rig.questions, 2, 'libvirt is asked only while something is prepared');
});

t.test('so it is when libvirt does not know a domain any more that its own hook prepared', async (t) => {
  const rig = makeRig();
  Object.assign(rig, { byHook: true, idle: [OTHER_UUID] });
  await rig.starts.look();
  t.strictSame(rig.abandoned, []);
  await rig.starts.look();
  t.strictSame(rig.abandoned, [UUID]);
});

t.test('I1: one that goes on is never ended', async (t) => {
  for (const [what, change] of [
    ['libvirt does not know the domain', (rig) => (rig.idle = [OTHER_UUID])],
    ['libvirt does not answer', (rig) => (rig.idle = undefined)],
    ['libvirt is starting it', (rig) => Object.assign(rig, { byHook: true, idle: [], active: [UUID] })],
    ['its swtpm runs', (rig) => (rig.running = [UUID])],
  ] as const satisfies readonly (readonly [string, (rig: Rig) => unknown])[]) {
    const rig = makeRig();
    change(rig);
    for (let look = 0; look < 5; look++) await rig.starts.look();
    t.strictSame(rig.abandoned, [], what);
    Object.assign(rig, { idle: [UUID], active: [], running: [] });
    await rig.starts.look();
    t.strictSame(rig.abandoned, [], `${what}: nothing was counted`);
  }
});

t.test('I1: what was said while libvirt was asked makes its answer an old one', async (t) => {
  const rig = makeRig();
  await rig.starts.look();
  rig.meanwhile = () => {
    rig.starts.forget(UUID);
  };
  await rig.starts.look();
  t.strictSame(rig.abandoned, [], 'another start of it was prepared');
  rig.meanwhile = () => undefined;
  await rig.starts.look();
  t.strictSame(rig.abandoned, [], 'which is counted from the beginning');
});

t.test('a look that is under way is not joined by another', async (t) => {
  const rig = makeRig();
  await Promise.all([rig.starts.look(), rig.starts.look()]);
  t.equal(rig.questions, 1);
  t.strictSame(rig.abandoned, []);
});

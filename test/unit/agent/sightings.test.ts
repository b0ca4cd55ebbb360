import t from 'tap';
import { Sightings } from '../../../src/agent/watch/sightings.js';
import type { DomainUuid } from '../../../src/model/identifiers.js';
import { OTHER_UUID, UUID } from '../../fixtures/tpm-captures.js';

interface Rig {
  readonly sightings: Sightings;
  /** What was taken up, in order. */
  readonly taken: DomainUuid[];
  /** With which names, in the same order. */
  readonly names: (string | undefined)[];
  /** Ends the look that is under way. */
  see(...uuids: DomainUuid[]): void;
}

interface Happenings {
  readonly duringTakeUp?: (sightings: Sightings) => void;
  /** While the manager is asked after a domain. */
  readonly duringQuestion?: (sightings: Sightings, uuid: DomainUuid) => void;
  readonly leftAlone?: DomainUuid;
}

function rig({ duringTakeUp, duringQuestion, leftAlone }: Happenings = {}): Rig {
  const taken: DomainUuid[] = [];
  const names: (string | undefined)[] = [];
  let see: (seen: ReadonlySet<DomainUuid>) => void = () => undefined;
  const list = (): Promise<ReadonlySet<DomainUuid>> => new Promise((resolve) => (see = resolve));
  const log = {
    info: () => undefined,
    warn: () => undefined,
    error: () => undefined,
    debug: () => undefined,
  };
  const sightings: Sightings = new Sightings(
    { running: { list, takesGuestIn: async () => undefined, guest: async () => 'unknown' }, log },
    {
      runOf: () => undefined,
      factsOf: (uuid) => {
        duringQuestion?.(sightings, uuid);
        return Promise.resolve(uuid === leftAlone ? 'left-alone' : { name: `vm-${uuid.slice(0, 4)}` });
      },
      takeUp: (uuid, { name }) => {
        taken.push(uuid);
        names.push(name);
        duringTakeUp?.(sightings);
        return Promise.resolve();
      },
      fateOf: () => Promise.resolve('ended'),
      hasGone: () => undefined,
      hasLostTpm: () => undefined,
      hasTpm: () => undefined,
    },
  );
  return {
    sightings,
    taken,
    names,
    see: (...uuids) => {
      see(new Set(uuids));
    },
  };
}

const ignore = (): void => undefined;

t.test('what runs and is not looked after is taken up, with what is known of it', async (t) => {
  const { sightings, taken, names, see } = rig();
  const looked = sightings.lookForNew(ignore);
  see(UUID, OTHER_UUID);
  await looked;
  t.strictSame(taken, [UUID, OTHER_UUID]);
  t.strictSame(names, [`vm-${UUID.slice(0, 4)}`, `vm-${OTHER_UUID.slice(0, 4)}`]);
});

t.test('a domain whose stop was said while a look was under way is not taken up again', async (t) => {
  const { sightings, taken, see } = rig();
  const looked = sightings.lookForNew(ignore);
  sightings.forget(UUID);
  see(UUID, OTHER_UUID);
  await looked;
  t.strictSame(taken, [OTHER_UUID]);
  const again = sightings.lookForNew(ignore);
  see(UUID);
  await again;
  t.strictSame(taken, [OTHER_UUID, UUID], 'what was said is no matter to a look that begins later');
});

t.test('nor is one whose stop was said while another was taken up', async (t) => {
  const { sightings, taken, see } = rig({
    duringTakeUp: (sightings) => {
      sightings.forget(OTHER_UUID);
    },
  });
  const looked = sightings.lookForNew(ignore);
  see(UUID, OTHER_UUID);
  await looked;
  t.strictSame(taken, [UUID]);
});

t.test('nor is one whose stop was said while its name was asked for', async (t) => {
  const { sightings, taken, see } = rig({
    duringQuestion: (sightings, uuid) => {
      if (uuid === UUID) sightings.forget(uuid);
    },
  });
  const looked = sightings.lookForNew(ignore);
  see(UUID, OTHER_UUID);
  await looked;
  t.strictSame(taken, [OTHER_UUID]);
});

t.test('a domain that its owner wants left alone is not taken up, and is not news', async (t) => {
  const { sightings, taken, see } = rig({ leftAlone: UUID });
  const news: DomainUuid[] = [];
  const looked = sightings.lookForNew((uuid) => news.push(uuid));
  see(UUID, OTHER_UUID);
  await looked;
  t.strictSame(taken, [OTHER_UUID]);
  t.strictSame(news, [OTHER_UUID]);
});

t.test('G3: a swtpm that has ended ends no run that nobody said is over', async (t) => {
  const told: string[] = [];
  let seen = new Set<DomainUuid>([UUID]);
  let fate: 'ended' | 'runs' | 'unknown' = 'runs';
  let duringQuestion = ignore;
  const log = { info: ignore, warn: ignore, error: ignore, debug: ignore };
  const running = {
    list: async () => seen,
    takesGuestIn: async () => undefined,
    guest: async () => 'unknown' as const,
  };
  const sightings = new Sightings(
    { running, log },
    {
      runOf: () => 'running',
      factsOf: async () => ({}),
      takeUp: async () => undefined,
      fateOf: async () => {
        duringQuestion();
        return fate;
      },
      hasGone: () => told.push('gone'),
      hasLostTpm: (_, what) => told.push(`lost, ${what}`),
      hasTpm: () => told.push('has'),
    },
  );
  const look = async (expected: readonly string[], why: string): Promise<void> => {
    told.length = 0;
    await sightings.look(ignore);
    t.strictSame(told, expected, why);
  };
  await look(['has'], 'it runs');
  seen = new Set();
  await look([], 'one look proves nothing');
  await look(['lost, runs'], 'its QEMU runs on');
  fate = 'unknown';
  await look(['lost, unknown'], 'asked again at each look');
  seen = new Set([UUID]);
  await look(['has'], 'another swtpm has come up');
  seen = new Set();
  await look([], 'from the beginning');
  duringQuestion = () => {
    sightings.forget(UUID);
  };
  fate = 'ended';
  await look([], 'its stop was said while libvirt was asked');
  duringQuestion = ignore;
  sightings.remember(UUID);
  await look([], 'one look proves nothing');
  await look(['gone'], 'libvirt says that it is over');
  await look([], 'said once');
});

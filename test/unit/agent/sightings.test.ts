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
    { running: { list, takesGuestIn: async () => undefined }, log },
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
      hasGone: () => undefined,
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

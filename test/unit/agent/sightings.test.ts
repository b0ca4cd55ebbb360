import t from 'tap';
import { Sightings } from '../../../src/agent/sightings.js';
import type { DomainUuid } from '../../../src/model/identifiers.js';
import { OTHER_UUID, UUID } from '../../fixtures/tpm-captures.js';

interface Rig {
  readonly sightings: Sightings;
  /** What was taken up, in order. */
  readonly taken: DomainUuid[];
  /** Ends the look that is under way. */
  see(...uuids: DomainUuid[]): void;
}

function rig(duringTakeUp: (sightings: Sightings) => void = () => undefined): Rig {
  const taken: DomainUuid[] = [];
  let see: (seen: ReadonlySet<DomainUuid>) => void = () => undefined;
  const list = (): Promise<ReadonlySet<DomainUuid>> => new Promise((resolve) => (see = resolve));
  const log = {
    info: () => undefined,
    warn: () => undefined,
    error: () => undefined,
    debug: () => undefined,
  };
  const sightings: Sightings = new Sightings(
    { running: { list }, log },
    {
      runOf: () => undefined,
      takeUp: (uuid) => {
        taken.push(uuid);
        duringTakeUp(sightings);
        return Promise.resolve();
      },
      hasGone: () => undefined,
    },
  );
  return {
    sightings,
    taken,
    see: (...uuids) => {
      see(new Set(uuids));
    },
  };
}

const ignore = (): void => undefined;

t.test('what runs and is not looked after is taken up', async (t) => {
  const { sightings, taken, see } = rig();
  const looked = sightings.lookForNew(ignore);
  see(UUID, OTHER_UUID);
  await looked;
  t.strictSame(taken, [UUID, OTHER_UUID]);
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
  const { sightings, taken, see } = rig((sightings) => {
    sightings.forget(OTHER_UUID);
  });
  const looked = sightings.lookForNew(ignore);
  see(UUID, OTHER_UUID);
  await looked;
  t.strictSame(taken, [UUID]);
});

import t from 'tap';
import type { StateStamp } from '../../../src/host/state-stamp.js';
import { LOOKS_A_READING, Reread } from '../../../src/agent/domain/reread.js';
import { parseDomainUuid } from '../../../src/model/identifiers.js';

/** Its count of looks begins at 0. */
const UUID = parseDomainUuid('6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b0000');
const PLACE = { uuid: UUID, nvramPath: undefined };
const SECOND = 1000;

/** A domain whose files have the stamp that is set, and a clock that is set too. */
function rig() {
  const now = { ms: 0, stamp: new Map() as StateStamp | undefined };
  const reread = new Reread(
    {
      clock: { nowMs: () => 0, monotonicMs: () => now.ms, after: () => () => undefined },
      files: {
        stamp: () => Promise.resolve(now.stamp),
      } as unknown as ConstructorParameters<typeof Reread>[0]['files'],
    },
    UUID,
  );
  return { now, reread };
}

/** A look, and a reading if one is due. @returns whether it was */
async function look(reread: Reread): Promise<boolean> {
  const due = await reread.isDue(PLACE);
  if (due) reread.begin()();
  return due;
}

void t.test('files whose stamp had rested when they were read are not read again', async (t) => {
  const { now, reread } = rig();
  t.ok(await look(reread), 'nobody has read them yet');
  now.ms += 30 * SECOND;
  t.ok(await look(reread), 'a write may have followed the first reading within one tick');
  now.ms += 30 * SECOND;
  t.notOk(await look(reread));
});

void t.test('files whose stamp is young are read again, however often they were read', async (t) => {
  const { now, reread } = rig();
  for (let looks = 0; looks < 3; looks++) {
    t.ok(await look(reread));
    now.ms += SECOND / 2;
  }
});

void t.test('another stamp, or none, is read', async (t) => {
  const { now, reread } = rig();
  for (let looks = 0; looks < 2; looks++) {
    await look(reread);
    now.ms += 30 * SECOND;
  }
  t.notOk(await look(reread));
  now.stamp = new Map([['a', 'b']]);
  t.ok(await look(reread));
  now.stamp = undefined;
  for (let looks = 0; looks < 3; looks++) {
    now.ms += 30 * SECOND;
    t.ok(await look(reread));
  }
});

void t.test('a reading that failed stands for nothing', async (t) => {
  const { now, reread } = rig();
  for (let looks = 0; looks < 4; looks++) {
    t.ok(await reread.isDue(PLACE));
    reread.begin();
    now.ms += 30 * SECOND;
  }
});

void t.test('G5: what no stamp tells is read from time to time all the same', async (t) => {
  const { now, reread } = rig();
  const due: boolean[] = [];
  for (let looks = 0; looks < 5 * LOOKS_A_READING; looks++) {
    due.push(await look(reread));
    now.ms += 30 * SECOND;
  }
  const readings = due.flatMap((isDue, index) => (isDue ? [index] : []));
  t.ok(readings.length < 8, 'few readings');
  readings.forEach((at, index) => {
    t.ok((readings[index + 1] ?? due.length) - at <= LOOKS_A_READING, `the reading after look ${at}`);
  });
});

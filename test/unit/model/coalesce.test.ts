import t from 'tap';
import { coalesced } from '../../../src/model/coalesce.js';

interface Run {
  readonly resolve: (value: number) => void;
  readonly reject: (error: Error) => void;
}

/** Work whose runs end when they are told to. */
function heldWork() {
  const runs: Run[] = [];
  const work = coalesced(
    () =>
      new Promise<number>((resolve, reject) => {
        runs.push({ resolve, reject });
      }),
  );
  return { runs, work };
}

void t.test('those who ask during a run share the next one, which begins after they asked', async (t) => {
  const { runs, work } = heldWork();
  const first = work();
  const others = [work(), work(), work()];
  t.equal(runs.length, 1);
  runs[0]?.resolve(1);
  t.equal(await first, 1);
  await new Promise(setImmediate);
  t.equal(runs.length, 2);
  const late = work();
  t.equal(runs.length, 2, 'a run that has begun is not theirs who ask after that');
  runs[1]?.resolve(2);
  t.same(await Promise.all(others), [2, 2, 2]);
  await new Promise(setImmediate);
  runs[2]?.resolve(3);
  t.equal(await late, 3);
});

void t.test('a run that fails is told to those who wait for it alone', async (t) => {
  const { runs, work } = heldWork();
  const first = work();
  const second = work();
  runs[0]?.reject(new Error('no list'));
  await t.rejects(first, { message: 'no list' });
  await new Promise(setImmediate);
  runs[1]?.resolve(2);
  t.equal(await second, 2);
});

import t from 'tap';
import { SeededRandom } from '../../sim/random.js';

void t.test('one seed, one sequence; another seed, another', (t) => {
  const draw = (seed: string | number): number[] => {
    const random = new SeededRandom(seed);
    return Array.from({ length: 20 }, () => random.int(0, 1_000_000));
  };
  t.strictSame(draw(1), draw(1));
  t.notSame(draw(1), draw(2));
  t.end();
});

void t.test('a fork does not depend on what was drawn before it', (t) => {
  const one = new SeededRandom('seed');
  const other = new SeededRandom('seed');
  other.fraction();
  other.fork('newcomer').fraction();
  t.equal(one.fork('disk').hex(16), other.fork('disk').hex(16));
  t.not(one.fork('disk').hex(16), one.fork('network').hex(16));
  t.end();
});

void t.test('draws are within their bounds and about uniform', (t) => {
  const random = new SeededRandom('bounds');
  const counts = new Array<number>(10).fill(0);
  for (let draw = 0; draw < 100_000; draw += 1) {
    const value = random.int(0, 9);
    counts[value] = (counts[value] ?? 0) + 1;
  }
  t.equal(counts.length, 10);
  for (const count of counts) t.ok(count > 9500 && count < 10_500, `${count} of 10000`);
  t.match(random.hex(5), /^[0-9a-f]{10}$/);
  const between = random.between([3, 4]);
  t.ok(between >= 3 && between < 4);
  t.notOk(random.chance(0));
  t.ok(random.chance(1));
  t.throws(() => random.pick([]));
  t.end();
});

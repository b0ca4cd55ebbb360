import fc from 'fast-check';
import t from 'tap';
import { formatDuration, parseDurationMs } from '../../../src/model/duration.js';

t.test('durations are whole numbers with a unit', async (t) => {
  t.equal(parseDurationMs('200ms'), 200);
  t.equal(parseDurationMs('0s'), 0);
  t.equal(parseDurationMs('5s'), 5000);
  t.equal(parseDurationMs('1m'), 60_000);
  t.equal(parseDurationMs('2h'), 7_200_000);
});

t.test('anything else is not a duration', async (t) => {
  for (const text of [
    '',
    '5',
    's',
    '5 s',
    '1.5s',
    '-5s',
    '5S',
    '1m30s',
    '5sec',
    '１s',
    '99999999999s',
    ' 5s',
  ]) {
    t.equal(parseDurationMs(text), undefined, JSON.stringify(text));
  }
});

t.test('durations are formatted in the largest exact unit', async (t) => {
  t.equal(formatDuration(0), '0ms');
  t.equal(formatDuration(90_000), '90s');
  t.equal(formatDuration(60_000), '1m');
  t.equal(formatDuration(7_200_000), '2h');
  t.equal(formatDuration(1500), '1500ms');
});

t.test('a formatted duration is parsed to itself', async (t) => {
  fc.assert(fc.property(fc.nat(), (ms) => parseDurationMs(formatDuration(ms)) === ms));
  t.pass();
});

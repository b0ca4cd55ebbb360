import t from 'tap';
import { parseHostName } from '../../../src/model/identifiers.js';
import type { ClaimEntry, LogEntry } from '../../../src/model/log-entry.js';
import { takeOverIn } from '../../../src/model/take-over.js';
import { readVolumeLog } from '../../../src/model/volume-log.js';

const A = parseHostName('kvm-a');
const B = parseHostName('kvm-b');
const AT = '2026-11-20T10:00:00.000Z';

function claim(slot: number, host: typeof A, taken: Pick<ClaimEntry, 'from' | 'silentMs'> = {}): ClaimEntry {
  return { kind: 'claim', slot, host, token: 'abcdef01', at: AT, reason: 'start', ...taken };
}

function release(slot: number, host: typeof A, epoch: number): LogEntry {
  return { kind: 'release', slot, host, token: 'abcdef01', at: AT, reason: 'stop', epoch };
}

t.test('who took a volume, and when that is over', async (t) => {
  const taken = claim(2, B, { from: A, silentMs: 31_250 });
  const expected = { from: A, at: AT, silentMs: 31_250 };
  const found = (...entries: LogEntry[]): unknown => takeOverIn(readVolumeLog(entries));
  t.equal(found(), undefined);
  t.equal(found(claim(1, A)), undefined);
  t.strictSame(found(claim(1, A), taken), expected);
  t.strictSame(found(claim(1, A), taken, claim(3, B)), expected, 'claimed again by the same host');
  t.strictSame(found(claim(1, A), claim(2, B, { from: A })), { ...expected, silentMs: null });
  t.equal(
    found(claim(1, A), taken, release(3, B, 2), claim(4, B)),
    undefined,
    'given up in good order since',
  );
  t.equal(found(claim(1, A), taken, claim(3, A)), undefined, 'another has it');
});

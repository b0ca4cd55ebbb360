import t from 'tap';
import { DomainRecord } from '../../../src/agent/domain/domain-record.js';
import type { Journal } from '../../../src/host/journal.js';
import type { JournalRecord } from '../../../src/host/journal-record.js';
import { MirrorError } from '../../../src/model/errors.js';
import { STOPPED, type Lifecycle } from '../../../src/model/lifecycle-state.js';
import { tpmDigest } from '../../../src/model/hash.js';
import { instantClock, UUID } from '../../fakes/host-rig.js';
import { captureOf } from '../../fixtures/share-calls.js';

t.test(
  'what could not be written is written when somebody asks again, though nothing has changed',
  async (t) => {
    const full = new MirrorError('HOST_IO', 'no space', { next: 'free some' });
    const written: JournalRecord[] = [];
    const heard: (string | undefined)[] = [];
    let isFull = true;
    const journal: Journal = {
      read: () => Promise.resolve(undefined),
      write: (record) => {
        if (isFull) return Promise.reject(full);
        written.push(record);
        return Promise.resolve();
      },
      writtenAtNs: () => Promise.resolve(undefined),
      list: () => Promise.resolve({ records: [], damaged: [] }),
    };
    const record = new DomainRecord({ journal, clock: instantClock(), bootId: 'boot' }, UUID, (error) =>
      heard.push(error?.code),
    );
    record.change({ name: 'web-1' });
    await t.rejects(record.saved(), { code: 'HOST_IO' });

    isFull = false;
    record.retry();
    await new Promise(setImmediate);
    t.match(written, [{ name: 'web-1' }]);
    t.strictSame(heard, ['HOST_IO', undefined]);
    record.retry();
    await new Promise(setImmediate);
    t.equal(written.length, 1, 'and once');
  },
);

/** A run that has ended: what it read last, and what became of that. */
function ended(fields: Partial<Lifecycle>): Lifecycle {
  return { ...STOPPED, reading: { kind: 'taken', digest: 'd'.repeat(64) }, ...fields };
}

t.test('the journal knows what a run left where that is stored, be it as a diverged copy', async (t) => {
  const capture = captureOf('a');
  const { digest } = capture;
  const other = '0'.repeat(64);
  const head = { slot: 4, digest };
  const pending = { digest: other, spooled: true };
  const rows: readonly (readonly [string, Lifecycle, boolean])[] = [
    ['it is the head', ended({ published: head }), true],
    ['the log gives a prefix', ended({ published: { slot: 4, digest: digest.slice(0, 16) } }), true],
    ['a diverged copy', ended({ published: { slot: 4, digest: other }, outdated: [other, digest] }), true],
    ['a diverged copy of a domain that was never stored', ended({ outdated: [digest] }), true],
    ['something of it still waits', ended({ published: head, pending }), false],
    ['nobody has it', ended({ published: { slot: 4, digest: other }, outdated: [other] }), false],
    ['nobody has anything', ended({}), false],
    [
      'a blank TPM that came up past the hook',
      ended({ outdated: [digest], reading: { kind: 'taken', digest, foreign: true } }),
      false,
    ],
    ['it goes on', { ...ended({ outdated: [digest] }), run: 'running' }, false],
    ['it still ends', { ...ended({ outdated: [digest] }), run: 'finishing' }, false],
  ];
  for (const [name, state, isKnown] of rows) {
    const journal: Journal = {
      read: () => Promise.resolve(undefined),
      write: () => Promise.resolve(),
      writtenAtNs: () => Promise.resolve(undefined),
      list: () => Promise.resolve({ records: [], damaged: [] }),
    };
    const record = new DomainRecord(
      { journal, clock: instantClock(), bootId: 'boot' },
      UUID,
      () => undefined,
    );
    record.follow({ ...STOPPED, run: 'running' }, undefined);
    record.wasRead(capture);
    record.follow(state, undefined);
    t.equal(record.current?.finalTpm, isKnown ? tpmDigest(capture.files) : null, name);
  }
});

t.test('G8: the TPM of a run that never held the volume is not taken for the domain’s', async (t) => {
  const [own, other] = ['a'.repeat(64), 'b'.repeat(64)];
  const rows: readonly (readonly [Lifecycle['hold'], boolean])[] = [
    [{ kind: 'held', epoch: 3, next: 4 }, true],
    [{ kind: 'doubt', epoch: 3 }, true],
    [{ kind: 'doubt', epoch: 0, claiming: true }, false],
    [{ kind: 'wanted', how: 'adopt' }, false],
    [{ kind: 'wanted', how: 'migration' }, false],
    [{ kind: 'fenced', epoch: 3, by: 'kvm-b' }, false],
    [{ kind: 'none' }, false],
  ];
  for (const [hold, isKnown] of rows) {
    const journal: Journal = {
      read: () => Promise.resolve(undefined),
      write: () => Promise.resolve(),
      writtenAtNs: () => Promise.resolve(undefined),
      list: () => Promise.resolve({ records: [], damaged: [] }),
    };
    const record = new DomainRecord(
      { journal, clock: instantClock(), bootId: 'boot' },
      UUID,
      () => undefined,
    );
    record.follow({ ...STOPPED, run: 'running', hold }, other);
    t.equal(record.current?.identity, isKnown ? other : null, JSON.stringify(hold));
    record.follow({ ...STOPPED, run: 'running', hold: { kind: 'held', epoch: 2, next: 3 } }, own);
    record.follow({ ...STOPPED, run: 'running', hold }, other);
    t.equal(record.current?.identity, isKnown ? other : own, `known before: ${JSON.stringify(hold)}`);
  }
});

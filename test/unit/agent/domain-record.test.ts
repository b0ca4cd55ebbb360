import t from 'tap';
import { DomainRecord } from '../../../src/agent/domain/domain-record.js';
import type { Journal } from '../../../src/host/journal.js';
import type { JournalRecord } from '../../../src/host/journal-record.js';
import { MirrorError } from '../../../src/model/errors.js';
import { instantClock, UUID } from '../../fakes/host-rig.js';

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

/**
 * A guest that never lets its TPM rest, on a host whose agent dies. The long form is slow/nv-storm.test.ts.
 */
import t from 'tap';
import { storm } from '../fixtures/nv-storm.js';

t.test(
  'G1, G4: under constant NV writes and a killed agent every generation is whole and in order',
  async (t) => {
    await storm(t, { writingMs: 6000, kills: 1, boundMs: 30_000, expireLocks: true, retention: 4 });
  },
);

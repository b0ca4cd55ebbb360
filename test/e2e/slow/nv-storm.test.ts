/**
 * A minute of constant NV writes on a host whose agent is killed five times.
 */
import t from 'tap';
import { storm } from '../../fixtures/nv-storm.js';

t.test(
  'G1, G4: the last write is on the share two seconds later, every generation is whole, nothing is left over',
  async (t) => {
    await storm(t, { writingMs: 60_000, kills: 5, boundMs: 2000, retention: 16 });
  },
);

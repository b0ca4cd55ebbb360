/**
 * Every operation of the volume protocol, killed before each of its calls, and every way in which life
 * can go on. SEED=n makes another choice of what an unsynced disk keeps.
 */
import t from 'tap';
import { crashes } from '../crashes.js';
import { SCENARIOS } from '../volume-scenarios.js';
import { sweep } from '../volume-sweep.js';

for (const scenario of SCENARIOS) {
  t.test(`${scenario.guarantees}: ${scenario.name} survives every crash at any of its calls`, (t) =>
    sweep(t, scenario, (calls) => crashes(calls, { isWhole: true, powerLosses: 8 })),
  );
}

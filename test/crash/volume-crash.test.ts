/**
 * Every operation of the volume protocol, killed before each of its calls. Who goes on afterwards, and
 * whether the power failed, changes from call to call; `slow/` plays all of it at each. SEED=n makes
 * another choice, also of what an unsynced disk keeps.
 */
import t from 'tap';
import { crashes } from './crashes.js';
import { SCENARIOS } from './volume-scenarios.js';
import { sweep } from './volume-sweep.js';

for (const scenario of SCENARIOS) {
  t.test(`${scenario.guarantees}: ${scenario.name} survives a crash at any of its calls`, (t) =>
    sweep(t, scenario, (calls) => crashes(calls, { isWhole: false, powerLosses: 2 })),
  );
}

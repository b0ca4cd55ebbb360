/**
 * fault-maker: faults for a schedule, armed at calls that lie between two steps of a protocol.
 */
import type { Arm, ArmedFault } from './arms.js';
import type { SeededRandom } from './random.js';

/** Sites whose calls lie between two steps of a protocol. */
const SITES = [
  'publish:',
  'publish:symlink',
  'publish:rename',
  'publish:fsync',
  'publish:sync-',
  'publish:readlink',
  'claim:',
  'claim:symlink',
  'claim:readlink',
  'release:',
  'release:symlink',
  'diverge:',
  'sweep:',
  'prune:',
  'log:',
  'fetch:',
  'heartbeat:',
  'marker:',
  'restore:',
  'set-aside:',
  'spool:',
  'spool-remove:',
  'replace:',
  'journal:',
  'read-state:',
];
/** Of what a holder does to its volume, step by step. */
const OVERTAKEN_SITES = ['publish:', 'release:', 'sweep:', 'prune:', 'log:readdir', 'claim:'];
const ERRNOS = ['EIO', 'ENOSPC', 'ETIMEDOUT', 'ESTALE'];

export function makeArm(random: SeededRandom): Arm {
  return {
    site: random.pick(SITES),
    skip: random.weighted([
      [5, 0],
      [3, random.int(0, 4)],
      [1, random.int(0, 20)],
    ]),
    executed: random.chance(0.5),
    fault: makeFault(random),
  };
}

/** A holder stops in the middle of what it does to its volume, and goes on later. */
export function makeStall(random: SeededRandom): Arm {
  return {
    site: random.pick(OVERTAKEN_SITES),
    skip: random.int(0, 2),
    executed: true,
    fault: { kind: random.chance(0.5) ? 'pause' : 'partition', ms: random.int(500, 6000) },
  };
}

/** Shorter and longer than a deadline, and than a host's expiry. */
export function faultLength(random: SeededRandom): number {
  const [least, most] = random.weighted([
    [3, [50, 1500]],
    [3, [1500, 6000]],
    [3, [9000, 25_000]],
  ] as const);
  return random.int(least, most);
}

function makeFault(random: SeededRandom): ArmedFault {
  const length = faultLength(random);
  return random.weighted<ArmedFault>([
    [4, { kind: 'kill' }],
    [3, { kind: 'kill-agent' }],
    [3, { kind: 'power-loss', downMs: length }],
    [1, { kind: 'crash-server', downMs: random.int(0, 4000), graceMs: 0 }],
    [3, { kind: 'pause', ms: length }],
    [3, { kind: 'partition', ms: length }],
    [3, { kind: 'fail', code: random.pick(ERRNOS) }],
  ]);
}

/**
 * schedule-identities: what becomes of hosts as such in a schedule: they get other names, a machine
 * starts with the image of another one's disk, and the share's files bear the times of their writers.
 *
 * Each by a die of its own: a seed's schedule stays what it was without it.
 */
import { SeededRandom } from './random.js';
import type { ScheduleOptions, Step } from './schedule.js';

/** A schedule without its seed. */
export interface Draft {
  readonly options: ScheduleOptions;
  readonly steps: readonly Step[];
}

const NAMES_MAX = 2;
const MINUTE_MS = 60_000;

export function withIdentities(seed: string, draft: Draft): Draft {
  const dice = (what: string): SeededRandom => new SeededRandom(`${what} ${seed}`);
  const renamed = withRenames(dice('renames'), draft);
  if (draft.options.share === 'local') return renamed;
  return withCopy(dice('copies'), withWriterTimes(dice('times'), renamed));
}

/** As on CephFS: a file's time is its writer's, and hosts' clocks are wrong. On any share a beat can lie in the future. */
function withWriterTimes(random: SeededRandom, { options, steps }: Draft): Draft {
  const isWriters = random.chance(0.2);
  const isAhead = random.chance(isWriters ? 0.3 : 0.1);
  const ahead = (): Step => ({
    do: 'future-beat',
    host: random.int(0, options.hosts - 1),
    ms: random.pick([20_000, MINUTE_MS, 60 * MINUTE_MS]),
    thenMs: random.int(0, 3000),
  });
  return {
    options: isWriters ? { ...options, times: 'writer' } : options,
    steps: isAhead
      ? [...strewn(random, steps, random.int(1, 3), ahead), ...afterDeath(random, options)]
      : steps,
  };
}

/** A host dies and stays dead, its last beat lies in the future, and another one starts what ran there. */
function afterDeath(random: SeededRandom, { hosts, transient }: ScheduleOptions): readonly Step[] {
  if (hosts === 1 || random.chance(0.3)) return [];
  const host = random.int(0, hosts - 1);
  const domain = random.int(0, transient.length - 1);
  const other = (host + random.int(1, hosts - 1)) % hosts;
  const start = { do: 'start', domain, pastHook: false, fails: false } as const;
  return [
    { ...start, host, thenMs: random.int(2000, 8000) },
    { do: 'power-loss', host, downMs: 2 * MINUTE_MS, thenMs: random.int(0, 2000) },
    { do: 'future-beat', host, ms: 10 * MINUTE_MS, thenMs: random.int(20_000, 40_000) },
    { ...start, host: other, thenMs: random.int(2000, 12_000) },
  ];
}

function withRenames(random: SeededRandom, { options, steps }: Draft): Draft {
  if (!random.chance(0.12)) return { options, steps };
  const rename = (): Step => ({
    do: 'rename',
    host: random.int(0, options.hosts - 1),
    to: random.int(0, NAMES_MAX),
    thenMs: random.int(0, 5000),
  });
  return { options, steps: strewn(random, steps, random.int(1, 4), rename) };
}

/** One more machine, which begins as the copy of one of the others; domains are started there, too. */
function withCopy(random: SeededRandom, { options, steps }: Draft): Draft {
  if (!random.chance(0.12)) return { options, steps };
  const { hosts } = options;
  const at = random.int(2, Math.max(2, steps.length - 4));
  const clone: Step = { do: 'clone', host: random.int(0, hosts - 1), thenMs: random.int(0, 9000) };
  const onCopy = (): Step => {
    const on = { host: hosts, domain: random.int(0, options.transient.length - 1) };
    const thenMs = random.int(200, 6000);
    return random.weighted<Step>([
      [5, { do: 'start', ...on, pastHook: false, fails: random.chance(0.1), thenMs }],
      [2, { do: 'write', times: 2, ...on, thenMs }],
      [2, { do: 'stop', ...on, thenMs }],
      [1, { do: 'kill-agent', host: hosts, thenMs }],
      [1, { do: 'start-agent', host: hosts, thenMs }],
      [1, { do: 'power-loss', host: hosts, downMs: thenMs, thenMs }],
      [1, { do: 'separate', thenMs }],
      [1, { do: 'partition', host: hosts, ms: 3 * thenMs, thenMs }],
    ]);
  };
  const after = strewn(random, steps.slice(at), random.int(3, 8), onCopy);
  return {
    options: { ...options, hosts: hosts + 1, spare: true, hardware: random.chance(0.5) },
    steps: [...steps.slice(0, at), clone, ...after],
  };
}

/** With `count` more steps, anywhere. */
function strewn(
  random: SeededRandom,
  steps: readonly Step[],
  count: number,
  make: () => Step,
): readonly Step[] {
  const all = [...steps];
  for (let left = count; left > 0; left -= 1) all.splice(random.int(0, all.length), 0, make());
  return all;
}

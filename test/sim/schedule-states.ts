/**
 * schedule-states: what becomes of a domain's state in a schedule beside what its guest does: hosts
 * have swtpm of several versions, domains are saved to files and restored, and somebody chooses what
 * a domain goes on with.
 *
 * Each by a die of its own: a seed's schedule stays what it was without it.
 */
import { SeededRandom } from './random.js';
import type { Draft } from './schedule-identities.js';
import type { Step } from './schedule.js';

export function withStates(seed: string, draft: Draft): Draft {
  const dice = (what: string): SeededRandom => new SeededRandom(`${what} ${seed}`);
  return withChoices(dice('choices'), withSaveFiles(dice('save files'), withSwtpms(dice('swtpms'), draft)));
}

/** Hosts with different swtpm, of which one may be newer than this program. */
function withSwtpms(random: SeededRandom, { options, steps }: Draft): Draft {
  if (!random.chance(0.15)) return { options, steps };
  const { hosts, transient } = options;
  const swtpm = Array.from({ length: hosts }, () =>
    random.weighted([
      [2, 'old' as const],
      [5, 'current' as const],
      [1, 'newer' as const],
    ]),
  );
  const more = (): readonly Step[] => {
    const on = { host: random.int(0, hosts - 1), domain: random.int(0, transient.length - 1) };
    const thenMs = random.int(500, 4000);
    const version = random.pick(['current', 'newer'] as const);
    return random.weighted<readonly Step[]>([
      [3, [{ do: 'install-swtpm', host: on.host, version, thenMs }]],
      [
        2,
        [
          { do: 'stop', ...on, thenMs: 4 * thenMs },
          { do: 'place', older: false, newerFormat: true, ...on, thenMs },
          { do: 'start', ...on, pastHook: false, fails: false, thenMs },
        ],
      ],
    ]);
  };
  return { options: { ...options, swtpm }, steps: strewn(random, steps, random.int(1, 3), more) };
}

/** Saved, perhaps started otherwise meanwhile, and restored. */
function withSaveFiles(random: SeededRandom, { options, steps }: Draft): Draft {
  if (!random.chance(0.2)) return { options, steps };
  const { hosts, transient } = options;
  const more = (): readonly Step[] => {
    const on = { host: random.int(0, hosts - 1), domain: random.int(0, transient.length - 1) };
    const elsewhere = { ...on, host: random.int(0, hosts - 1) };
    const start = { do: 'start', pastHook: false, fails: false } as const;
    const thenMs = (): number => random.int(300, 7000);
    const between: readonly Step[] = [
      { ...start, ...elsewhere, thenMs: thenMs() },
      { do: 'write', times: 2, ...elsewhere, thenMs: thenMs() },
      { do: 'stop', ...elsewhere, thenMs: thenMs() },
    ];
    return [
      ...(random.chance(0.5) ? [{ ...start, ...on, thenMs: thenMs() }] : []),
      { do: 'save', ...on, thenMs: thenMs() },
      ...(random.chance(0.6) ? between : []),
      { do: 'restore-saved', ...on, thenMs: thenMs() },
    ];
  };
  return { options, steps: strewn(random, steps, random.int(1, 2), more) };
}

function withChoices(random: SeededRandom, { options, steps }: Draft): Draft {
  if (!random.chance(0.15)) return { options, steps };
  const { hosts, transient } = options;
  const more = (): readonly Step[] => [
    {
      do: 'resolve',
      keep: random.pick(['head', 'local', 'diverged'] as const),
      host: random.int(0, hosts - 1),
      domain: random.int(0, transient.length - 1),
      thenMs: random.int(0, 5000),
    },
  ];
  // Most choices make sense where something was refused; a stop goes before some of them.
  const stops = steps.flatMap((step) =>
    step.do === 'stop' && random.chance(0.5) ? [step, ...more()] : [step],
  );
  return { options, steps: strewn(random, stops, random.int(1, 3), more) };
}

/** With `count` more sequences of steps, anywhere. */
function strewn(
  random: SeededRandom,
  steps: readonly Step[],
  count: number,
  make: () => readonly Step[],
): readonly Step[] {
  const all = [...steps];
  for (let left = count; left > 0; left -= 1) all.splice(random.int(0, all.length), 0, ...make());
  return all;
}

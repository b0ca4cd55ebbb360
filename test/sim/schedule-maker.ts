/**
 * schedule-maker: a schedule from a seed. It keeps a rough idea of what runs where, so that most steps make sense when their turn comes.
 */
import { faultLength, makeArm, makeStall } from './fault-maker.js';
import { withIdentities } from './schedule-identities.js';
import { withStates } from './schedule-states.js';
import { SeededRandom, type Weighted } from './random.js';
import type { Action, Roughness, Schedule, ScheduleOptions, Step } from './schedule.js';

export function makeSchedule(seed: string, asked?: Roughness): Schedule {
  const maker = new ScheduleMaker(new SeededRandom(`schedule ${seed}`), asked);
  return maker.make(seed);
}

class ScheduleMaker {
  readonly #random: SeededRandom;
  readonly #options: ScheduleOptions;
  /** Where each domain is thought to run. */
  readonly #places: (number | undefined)[];

  constructor(random: SeededRandom, asked: Roughness | undefined) {
    this.#random = random;
    this.#options = this.#makeOptions(asked);
    this.#places = this.#options.transient.map(() => undefined);
  }

  make(seed: string): Schedule {
    const steps: Step[] = [{ do: 'wait', thenMs: 1000 }];
    const take = (action: Action | readonly Action[]): void => {
      for (const each of 'do' in action ? [action] : action) {
        steps.push({ ...each, thenMs: this.#gapAfter(each) });
      }
    };
    // Without a domain that runs, most of what follows would come to nothing.
    if (this.#random.chance(0.8)) take(this.#start());
    const length = this.#random.int(12, 30);
    while (steps.length < length) take(this.#pick(this.#actions)());
    const nvram = new SeededRandom(`nvram ${seed}`).chance(0.4) && { nvram: true };
    const draft = { options: { ...this.#options, ...nvram }, steps: withSecondWriter(seed, steps) };
    return { seed, ...withStates(seed, withIdentities(seed, draft)) };
  }

  #makeOptions(asked: Roughness | undefined): ScheduleOptions {
    const random = this.#random;
    const share = random.chance(0.15) ? 'local' : 'nfs';
    const hosts =
      share === 'local'
        ? 1
        : this.#pick([
            [1, 1],
            [6, 2],
            [3, 3],
          ]);
    const domains = this.#pick([
      [3, 1],
      [1, 2],
    ]);
    return {
      roughness:
        asked ??
        this.#pick<Roughness>([
          [2, 'calm'],
          [4, 'rough'],
          [3, 'hostile'],
        ]),
      hosts,
      transient: Array.from({ length: domains }, () => random.chance(0.4)),
      share,
      soft: random.chance(0.1) ? [random.int(0, hosts - 1)] : [],
      silent: random.chance(0.4) ? [random.int(0, hosts - 1), random.int(0, hosts - 1)] : [],
      withoutShare: random.chance(0.4) ? 'last-known' : 'refuse',
      takeOver: random.chance(0.9) ? 'expired' : 'never',
      retention: random.int(1, 4),
    };
  }

  /** A start is mostly given the time that it takes. */
  #gapAfter({ do: what }: Action): number {
    if (what === 'start' && this.#random.chance(0.6)) return this.#random.int(800, 3000);
    const [least, most] = this.#pick([
      [3, [0, 60]],
      [4, [60, 1500]],
      [4, [1500, 6000]],
      [2, [8000, 20_000]],
    ] as const);
    return this.#random.int(least, most);
  }

  readonly #actions: Weighted<() => Action | readonly Action[]> = [
    [16, () => this.#start()],
    [9, () => this.#stop()],
    [3, () => this.#crash()],
    [9, () => this.#onRunning((target) => ({ do: 'write', times: this.#random.int(1, 4), ...target }))],
    [2, () => this.#onRunning((target) => ({ do: 'capture', ...target }))],
    [2, () => ({ do: 'delete-directory', host: this.#host(), domain: this.#domain() })],
    [1, () => this.#onRunning((target) => ({ do: 'delete-directory', ...target }))],
    [
      1,
      () => ({
        do: 'take-over',
        force: this.#random.chance(0.5),
        host: this.#host(),
        domain: this.#domain(),
      }),
    ],
    [2, () => this.#overtake()],
    [4, () => this.#migrate()],
    [2, () => this.#announce()],
    [4, () => this.#restartAgent()],
    [3, () => ({ do: 'pause', ms: this.#length(), host: this.#busyHost() })],
    [3, () => ({ do: 'power-loss', downMs: this.#length(), host: this.#busyHost() })],
    [6, () => ({ do: 'partition', ms: this.#length(), host: this.#busyHost() })],
    [2, () => ({ do: 'lose-events', ms: this.#length(), host: this.#busyHost() })],
    [1, () => ({ do: 'fill-disk', ms: this.#length(), host: this.#busyHost() })],
    [2, () => this.#blind()],
    [2, () => this.#onRunning((target) => ({ do: 'lose-tpm', ...target }))],
    [2, () => ({ do: 'fill-share', ms: this.#length() })],
    [2, () => this.#crashServer()],
    [12, () => this.#arm()],
    [1, () => ({ do: 'quiet' })],
    [3, () => ({ do: 'wait' })],
  ];

  #start(): Action | readonly Action[] {
    const domain = this.#domain();
    const host = this.#host();
    const place = this.#places[domain];
    const start = (on: number): Action => ({
      do: 'start',
      host: on,
      domain,
      pastHook: this.#random.chance(0.03),
      fails: this.#random.chance(0.06),
    });
    // Most domains run once. Some are started twice at a time, or somewhere else while they still run.
    if (place !== undefined && this.#random.chance(0.6)) {
      return { do: 'write', times: this.#random.int(1, 3), host: place, domain };
    }
    this.#places[domain] = host;
    return this.#random.chance(0.12) ? [start(host), start(this.#host())] : start(host);
  }

  #stop(): Action | readonly Action[] {
    return this.#onRunning((target) => {
      this.#places[target.domain] = undefined;
      return { do: 'stop', ...target };
    });
  }

  #crash(): Action | readonly Action[] {
    return this.#onRunning((target) => {
      this.#places[target.domain] = undefined;
      return { do: 'crash', noticed: this.#random.chance(0.6), ...target };
    });
  }

  #migrate(): Action | readonly Action[] {
    if (this.#options.hosts === 1) return this.#stop();
    return this.#onRunning((source) => {
      const to = this.#otherThan(source.host);
      const fails = this.#random.chance(0.25);
      if (!fails) this.#places[source.domain] = to;
      return { do: 'migrate', to, fails, confirmed: this.#random.chance(0.8), ...source };
    });
  }

  /** An offline migration, or one that is refused; mostly somebody starts the domain there soon. */
  #announce(): Action | readonly Action[] {
    const announced = { host: this.#host(), domain: this.#domain() };
    const { host, domain } = announced;
    if (this.#random.chance(0.3)) return { do: 'announce', ...announced };
    const isShutOff = this.#random.chance(0.7) && this.#places[domain] !== undefined;
    const place = this.#places[domain] ?? host;
    this.#places[domain] = host;
    return [
      ...(isShutOff ? [{ do: 'stop', host: place, domain } as const] : []),
      { do: 'announce', ...announced },
      { do: 'start', ...announced, pastHook: false, fails: this.#random.chance(0.1) },
    ];
  }

  /** Another host takes the volume, and starts the domain, in the middle of something that its holder does to it. */
  #overtake(): Action | readonly Action[] {
    if (this.#options.hosts === 1) return this.#arm();
    return this.#onRunning(({ host, domain }) => {
      const by = this.#otherThan(host);
      this.#places[domain] = by;
      return [
        { do: 'arm', host, arm: makeStall(this.#random) },
        { do: 'write', times: 1, host, domain },
        { do: 'take-over', force: true, host: by, domain },
        { do: 'start', host: by, domain, pastHook: false, fails: false },
        { do: 'write', times: 2, host: by, domain },
      ];
    });
  }

  /** What is written meanwhile cannot be read, perhaps until the domain has stopped. */
  #blind(): Action | readonly Action[] {
    return this.#onRunning((target) => [
      { do: 'blind', ms: this.#length(), host: target.host },
      { do: 'write', times: 2, ...target },
    ]);
  }

  /** Something for a domain that is thought to run, or the start of one. */
  #onRunning(
    make: (target: { readonly host: number; readonly domain: number }) => Action | readonly Action[],
  ): Action | readonly Action[] {
    const { host, domain } = this.#running();
    return this.#places[domain] === undefined ? this.#start() : make({ host, domain });
  }

  #restartAgent(): readonly Action[] {
    const host = this.#busyHost();
    const end: Action = { do: this.#random.chance(0.75) ? 'kill-agent' : 'stop-agent', host };
    return this.#random.chance(0.8) ? [end, { do: 'start-agent', host }] : [end];
  }

  #crashServer(): Action {
    const graceMs = this.#pick([
      [2, 0],
      [1, 1500],
      [1, 10_000],
    ]);
    return { do: 'crash-server', downMs: this.#random.int(0, 8000), graceMs };
  }

  #arm(): readonly Action[] {
    const host = this.#busyHost();
    const armed: Action = { do: 'arm', host, arm: makeArm(this.#random) };
    const domain = this.#domain();
    // Something for it to strike.
    if (this.#places[domain] === host) return [armed, { do: 'write', times: 2, host, domain }];
    return [armed];
  }

  #length(): number {
    return faultLength(this.#random);
  }

  #domain(): number {
    return this.#random.int(0, this.#places.length - 1);
  }

  #otherThan(host: number): number {
    const { hosts } = this.#options;
    return (host + this.#random.int(1, hosts - 1)) % hosts;
  }

  #host(): number {
    return this.#random.int(0, this.#options.hosts - 1);
  }

  /** A domain with the host on which it is thought to run. */
  #running(): { readonly host: number; readonly domain: number } {
    const running = this.#places.flatMap((place, domain) => (place === undefined ? [] : [domain]));
    const domain = running.length > 0 ? this.#random.pick(running) : this.#domain();
    return { host: this.#places[domain] ?? this.#host(), domain };
  }

  /** Rather a host where something runs. */
  #busyHost(): number {
    return this.#random.chance(0.75) ? this.#running().host : this.#host();
  }

  #pick<Value>(choices: Weighted<Value>): Value {
    return this.#random.weighted(choices);
  }
}

/** Somebody puts a state in place of one that has just stopped, and it is started there. By a die of its own: all else stays as it is. */
function withSecondWriter(seed: string, steps: readonly Step[]): readonly Step[] {
  const random = new SeededRandom(`second writer ${seed}`);
  if (!random.chance(0.3)) return steps;
  return steps.flatMap((step) => {
    if (step.do !== 'stop' || !random.chance(0.8)) return [step];
    const { host, domain } = step;
    const removed: Step = { do: 'delete-directory', host, domain, thenMs: 1000 };
    return [
      { ...step, thenMs: random.int(1000, 20_000) },
      { do: 'place', older: random.chance(0.5), host, domain, thenMs: random.int(200, 3000) },
      { do: 'start', host, domain, pastHook: false, fails: false, thenMs: random.int(800, 6000) },
      ...(random.chance(0.6) ? [removed] : []),
    ];
  });
}

/**
 * fleet-scale: what a large share costs its server, counted in requests: the real operations of many hosts over a simulated NFS.
 */
import { parseDomainUuid } from '../../src/model/identifiers.js';
import { HOST_EXPIRY_MS, hold, type Held } from './captures.js';
import { CountingShare, type Requests } from './counting-share.js';
import { figure, times } from './figures.js';
import type { Bench, Measurement, Outcome } from './measurement.js';
import { domainUuid } from './product.js';
import { TpmState } from './tpm-state.js';

interface Size {
  readonly hosts: number;
  readonly volumes: number;
}

const SIZES: readonly Size[] = [
  { hosts: 10, volumes: 1000 },
  { hosts: 100, volumes: 10_000 },
  { hosts: 1000, volumes: 100_000 },
];
const QUICK_SIZES: readonly Size[] = [
  { hosts: 3, volumes: 30 },
  { hosts: 6, volumes: 60 },
];
/** Volumes that are really made and used; the rest of them are names. */
const USED = 10;
const GENERATIONS = 5;
const BEAT_MS = 5000;
const BEATS = 24;
/** How often a VM changes its TPM's state, for the reckoning of a whole fleet: once an hour. */
const CHANGE_S = 3600;

/** Operations, and the requests that one of them takes. */
const OPERATIONS = {
  beat: 'heartbeat of a host, for each beat',
  publish: 'publish',
  stop: 'stop: publish and release',
  start: 'start on another host: look and claim',
  survey: 'status --all-hosts, for each host',
  summary: 'status --all-hosts, for each volume',
  verify: `verify, for each generation`,
} as const;
type Operation = keyof typeof OPERATIONS;
type Costs = Readonly<Record<Operation, Requests>>;

/** Those of each host and volume by itself, which must not grow with the fleet. */
const OWN: readonly Operation[] = ['beat', 'publish', 'stop', 'start'];
const GROWTH_MAX = 1.05;

async function run(bench: Bench): Promise<Outcome> {
  const sizes = bench.quick ? QUICK_SIZES : SIZES;
  const found: { readonly size: Size; readonly costs: Costs }[] = [];
  for (const size of sizes) {
    bench.progress(`${size.hosts} hosts, ${size.volumes} volumes`);
    found.push({ size, costs: await measure(size) });
  }
  return report(found);
}

async function measure({ hosts, volumes }: Size): Promise<Costs> {
  const share = new CountingShare(`${hosts} hosts`);
  await share.requestsOf(() => share.host(1).initialise({}));
  share.addNames(USED + 1, volumes - USED);
  const all = Array.from({ length: hosts }, (_, index) => share.host(index + 1));
  const everyBeat = (): Promise<Requests> =>
    share.requestsOf(() => Promise.all(all.map((host) => host.beat({ shareId: undefined }))));
  await everyBeat();
  const beat = new Mean();
  for (let beats = 0; beats < BEATS; beats += 1) {
    await share.pass(BEAT_MS);
    beat.add(await everyBeat(), hosts);
  }
  const used = await useVolumes(share);
  const survey = new Mean();
  const call = { hostExpiryMs: HOST_EXPIRY_MS, shareId: undefined };
  survey.add(await share.requestsOf(() => share.host(2).survey(call)), hosts);
  return { beat: beat.requests, survey: survey.requests, ...used };
}

/** On the first host, then on the second, with the third looking on. */
async function useVolumes(share: CountingShare): Promise<Omit<Costs, 'beat' | 'survey'>> {
  const [publish, stop, start, summary, verify] = [
    new Mean(),
    new Mean(),
    new Mean(),
    new Mean(),
    new Mean(),
  ];
  const state = new TpmState();
  for (let number = 1; number <= USED; number += 1) {
    const uuid = parseDomainUuid(domainUuid(number));
    let held: Held | undefined;
    const claim = async (host: number): Promise<void> => {
      held = await hold(share.host(host), uuid, 'start');
    };
    await share.requestsOf(() => claim(1));
    const change = async (): Promise<void> => held?.publish(state.next());
    await share.requestsOf(change);
    for (let generation = 2; generation < GENERATIONS; generation += 1) {
      publish.add(await share.requestsOf(change));
    }
    stop.add(
      await share.requestsOf(async () => {
        await change();
        await held?.release();
      }),
    );
    const look = { uuid, withHead: true, since: 0, shareId: undefined, hostExpiryMs: HOST_EXPIRY_MS };
    start.add(
      await share.requestsOf(async () => {
        await share.host(2).inspect(look);
        await claim(2);
      }),
    );
    summary.add(await share.requestsOf(() => share.host(3).summarise({ uuid })));
    verify.add(await share.requestsOf(() => share.host(3).verify({ uuid })), GENERATIONS);
  }
  return {
    publish: publish.requests,
    stop: stop.requests,
    start: start.requests,
    summary: summary.requests,
    verify: verify.requests,
  };
}

/** The mean of several counts. */
class Mean {
  readonly #totals = new Map<string, number>();
  #count = 0;

  /** @param times that the same was done for these requests */
  add(requests: Requests, times = 1): void {
    this.#count += times;
    for (const [name, count] of requests) this.#totals.set(name, (this.#totals.get(name) ?? 0) + count);
  }

  get requests(): Requests {
    return new Map([...this.#totals].map(([name, total]) => [name, total / this.#count]));
  }
}

function total(requests: Requests): number {
  return [...requests.values()].reduce((sum, count) => sum + count, 0);
}

/** `2.00 WRITE, 0.083 GETATTR`: most first. */
function describe(requests: Requests): string {
  return [...requests]
    .sort(([, one], [, other]) => other - one)
    .map(([name, count]) => `${figure(count)} ${name}`)
    .join(', ');
}

function report(found: readonly { readonly size: Size; readonly costs: Costs }[]): Outcome {
  const operations = Object.keys(OPERATIONS) as Operation[];
  const largest = found.at(-1);
  const rows = operations.map((operation) => [
    OPERATIONS[operation],
    ...found.map(({ costs }) => figure(total(costs[operation]))),
    largest ? describe(largest.costs[operation]) : '',
  ]);
  const growthOf = (operation: Operation): number => {
    const costs = found.map((one) => total(one.costs[operation]));
    return Math.max(...costs) / Math.min(...costs);
  };
  const growth = Math.max(...OWN.map(growthOf));
  return {
    table: { head: ['requests', ...found.map(({ size }) => sizeText(size)), 'of the last'], rows },
    goals: [
      {
        text: 'requests of each host and each volume: constant as hosts grow',
        met: growth <= GROWTH_MAX,
        found: `${times(growth)} between any two sizes of the fleet`,
      },
    ],
    notes: largest ? fleetNotes(largest.size, largest.costs) : [],
    samples: Object.fromEntries(
      found.flatMap(({ size, costs }) =>
        operations.map((operation) => [
          `${sizeText(size)}, ${OPERATIONS[operation]}, requests`,
          [total(costs[operation])],
        ]),
      ),
    ),
  };
}

function sizeText({ hosts, volumes }: Size): string {
  return `${hosts.toLocaleString('en')} hosts, ${volumes.toLocaleString('en')} volumes`;
}

function fleetNotes({ hosts, volumes }: Size, costs: Costs): string[] {
  const beats = (hosts * total(costs.beat)) / (BEAT_MS / 1000);
  const publishes = (volumes * total(costs.publish)) / CHANGE_S;
  const status = hosts * total(costs.survey) + volumes * total(costs.summary);
  return [
    `The server of ${sizeText({ hosts, volumes })} answers ${figure(beats)} requests a second for heartbeats, and ${figure(publishes)} for publishes if every VM changes its TPM once an hour; one \`status --all-hosts\` takes ${Math.round(status).toLocaleString('en')}.`,
    `${USED} volumes are used, with ${GENERATIONS} generations each; the others are there by name. A listing counts as one request, and is several where a directory has many thousand names; CLOSE, one for each file opened, is not counted.`,
  ];
}

export const fleetScale: Measurement = {
  name: 'fleet-scale',
  title: 'A large share, in requests to its server (simulated NFS)',
  run,
};

/**
 * main: `scripts/lab up|run|soak|down|list`.
 */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { serveInput } from './interactive.js';
import { details, headline, isPassed, writeReport, type Outcome } from './report.js';
import { Lanes } from './lanes.js';
import { Runner } from './runner.js';
import { optionsKey, type Scenario, type Subject } from './scenario.js';
import { SCENARIOS } from './scenarios.js';
import { runSoak } from './soak-command.js';

const USAGE = `usage: scripts/lab list
       scripts/lab run SCENARIO... | short | all  [--lanes N] [--report DIRECTORY] [--program FILE] [--verbose]
       scripts/lab soak    [--minutes N] [--vms N] [--seed SEED] [--report DIRECTORY] [--verbose]
       scripts/lab up      the guests, with a prompt for commands in them, until its end or \`scripts/lab down\`
       scripts/lab down`;
const UP_RECORD = '/tmp/nfs-lab.pid';
const BAD_USAGE = 2;
const INTERRUPTED = 130;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    report: { type: 'string' },
    minutes: { type: 'string', default: '30' },
    vms: { type: 'string', default: '4' },
    seed: { type: 'string', default: Date.now().toString(36) },
    program: { type: 'string' },
    bundles: { type: 'string' },
    lanes: { type: 'string', default: '2' },
    verbose: { type: 'boolean' },
  },
});

function say(text: string): void {
  console.error(`lab: ${text}`);
}

function chosen(names: readonly string[]): readonly Scenario[] {
  return names.flatMap((name) => {
    if (name === 'all') return SCENARIOS;
    if (name === 'short') return SCENARIOS.filter((scenario) => scenario.short);
    const found = SCENARIOS.find((scenario) => scenario.name === name);
    if (!found) throw new Error(`no scenario ${name}; see \`scripts/lab list\``);
    return [found];
  });
}

/** For the guests. */
async function programs(): Promise<readonly string[]> {
  const bundles = values.bundles ?? '';
  const guest = 'test/lab/guest';
  const program = dirname(values.program ?? 'dist/swtpm-mirror.cjs');
  const parts = (await readdir(program)).filter((name) => name.endsWith('.cjs'));
  return [
    ...parts.map((name) => join(program, name)),
    join(bundles, 'driver.mjs'),
    join(bundles, 'node-filesystem.test.mjs'),
    join(bundles, 'local-share-store.test.mjs'),
    join(guest, 'init.sh'),
    join(guest, 'shell.sh'),
    join(guest, 'plain-publisher.sh'),
  ];
}

/** The product's plays first, as they take longer; those side by side that can have services in common. */
function playsOf(scenarios: readonly Scenario[]): readonly (readonly [Scenario, Subject])[] {
  const keys = [...new Set(scenarios.map(optionsKey))];
  const sorted = scenarios.toSorted((a, b) => keys.indexOf(optionsKey(a)) - keys.indexOf(optionsKey(b)));
  return [
    ...sorted.map((scenario) => [scenario, 'product'] as const),
    ...scenarios.filter(({ control }) => control).map((scenario) => [scenario, 'control'] as const),
  ];
}

async function run(lanes: Lanes, scenarios: readonly Scenario[]): Promise<boolean> {
  const started = performance.now();
  const outcomes: Outcome[] = [];
  const seconds = (): number => (performance.now() - started) / 1000;
  await lanes.play(playsOf(scenarios), async (outcome) => {
    outcomes.push(outcome);
    console.log(headline(outcome));
    for (const [name, value] of Object.entries(outcome.facts)) console.log(`       ${name}: ${value}`);
    if (!isPassed(outcome)) {
      for (const line of details(outcome)) console.log(`       ${line}`);
      for (const line of outcome.lines.slice(-40)) console.log(`         ${line}`);
    }
    if (values.report !== undefined) await writeReport(values.report, outcomes, seconds());
  });
  // Once more at the end, where what the services said does not bury it.
  for (const outcome of outcomes.filter((each) => !isPassed(each))) {
    console.log([headline(outcome), ...details(outcome)].join('\n       '));
  }
  const passed = outcomes.filter(isPassed).length;
  console.log(`${passed} passed, ${outcomes.length - passed} failed`);
  return passed === outcomes.length;
}

async function soak(): Promise<boolean> {
  const { minutes, vms, seed, report, verbose } = values;
  const options = { minutes: Number(minutes), vms: Number(vms), seed, report };
  return await runSoak(await programs(), options, say, verbose ? say : () => undefined);
}

async function makeLanes(count: number): Promise<Lanes> {
  const files = await programs();
  const voices = { say, detail: values.verbose ? say : () => undefined };
  return new Lanes(Array.from({ length: count }, () => new Runner(files, voices)));
}

async function up(runner: Runner): Promise<void> {
  const cluster = await runner.cluster();
  await writeFile(UP_RECORD, `${process.pid}\n`);
  for (const { name, consoleLog } of cluster.machines) say(`${name}: console at ${consoleLog}`);
  await serveInput(cluster);
  await rm(UP_RECORD, { force: true });
}

async function down(): Promise<void> {
  const pid = Number(await readFile(UP_RECORD, 'utf8').catch(() => '0'));
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (commandLine.includes('lab') && commandLine.split('\0').includes('up')) process.kill(pid, 'SIGTERM');
  else say('no lab is up');
  await rm(UP_RECORD, { force: true });
}

async function main(): Promise<number> {
  const [command, ...names] = positionals;
  if (command === 'list') {
    for (const { name, title, short, control } of SCENARIOS) {
      console.log(`${name}: ${title}${short ? ' [short]' : ''}${control ? ' [with control]' : ''}`);
    }
    return 0;
  }
  if (command === 'down') {
    await down();
    return 0;
  }
  if (command === 'soak') return (await soak()) ? 0 : 1;
  if (command !== 'up' && (command !== 'run' || names.length === 0)) {
    console.error(USAGE);
    return BAD_USAGE;
  }
  const scenarios = chosen(names);
  const lanes = await makeLanes(command === 'up' ? 1 : Number(values.lanes));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      void lanes.end().finally(() => process.exit(INTERRUPTED));
    });
  }
  try {
    if (command === 'run') return (await run(lanes, scenarios)) ? 0 : 1;
    for (const runner of lanes.runners) await up(runner);
    return 0;
  } finally {
    await lanes.end();
  }
}

process.exit(await main());

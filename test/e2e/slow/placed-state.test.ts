/**
 * A TPM state that no run of the domain left: put back by a backup tool or a manager, not understood, or
 * torn. Whose word counts is declared; what nobody declared is refused, and nothing is lost.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { HostFixture, type Settings } from '../../fixtures/host.js';
import type { ProgramResult } from '../../fixtures/program.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const DOMAIN = '5a5a0000-1111-4222-8333-444455550001';
const FIRST = readStateBlob('used.permall').data;
const SECOND = readStateBlob('used-restarted.permall').data;
const THIRD = readStateBlob('used-cleared.permall').data;
const OTHER_TPM = readStateBlob('fresh-b.permall').data;

interface HistoryEntry {
  readonly reason: string;
  readonly head: boolean;
  readonly pins?: readonly string[];
}

class Site {
  readonly host: HostFixture;

  private constructor(host: HostFixture) {
    this.host = host;
  }

  static async create(t: Test, settings: Settings = {}): Promise<Site> {
    const base = await temporaryDirectory(t);
    const share = join(base, 'share');
    const host = await HostFixture.create({ name: 'kvm-a', base, share, settings });
    await host.run(['share', 'init', share]);
    return new Site(host);
  }

  get #file(): string {
    return join(this.host.tpmDirectory(DOMAIN), 'tpm2-00.permall');
  }

  async put(state: Uint8Array): Promise<void> {
    await mkdir(this.host.tpmDirectory(DOMAIN), { recursive: true });
    await writeFile(this.#file, state);
  }

  async state(): Promise<Uint8Array> {
    return new Uint8Array(await readFile(this.#file));
  }

  async prepare(): Promise<ProgramResult> {
    return await this.host.run(['domain', 'prepare', DOMAIN, '--name', 'web-1']);
  }

  /** A whole run that ends with this state. */
  async run(state: Uint8Array): Promise<void> {
    for (const verb of ['prepare', 'started', 'stopped']) {
      if (verb === 'started') await this.put(state);
      const { status, stderr } = await this.host.run(['domain', verb, DOMAIN]);
      if (status !== 0) throw new Error(`domain ${verb}: ${stderr}`);
    }
  }

  async history(): Promise<HistoryEntry[]> {
    return (await this.host.runJson(['history', DOMAIN])) as HistoryEntry[];
  }
}

/** A volume of two generations, after a stop in good order. */
async function siteWithTwoRuns(t: Test, settings?: Settings): Promise<Site> {
  const site = await Site.create(t, settings);
  await site.run(FIRST);
  await site.run(SECOND);
  return site;
}

for (const [what, placed] of [
  ['the generation before', FIRST],
  ['one that was never stored', THIRD],
] as const) {
  t.test(`G4 G5: a state that was put in place, ${what}, is refused, and the operator chooses`, async (t) => {
    const site = await siteWithTwoRuns(t);
    await site.put(placed);
    const refused = await site.prepare();
    t.match(refused, { status: 3, stderr: /STATE_PLACED: .*\n.*--keep head.*--keep local/s });
    t.strictSame(await site.state(), placed, 'nothing was touched');
    t.equal((await site.host.run(['resolve', DOMAIN, '--keep', 'head'])).status, 0);
    t.equal((await site.prepare()).status, 0);
    t.strictSame(await site.state(), SECOND);
  });

  t.test(`the same, and the operator keeps it: ${what}`, async (t) => {
    const site = await siteWithTwoRuns(t);
    await site.put(placed);
    t.equal((await site.host.run(['resolve', DOMAIN, '--keep', 'local'])).status, 0);
    t.equal((await site.prepare()).status, 0);
    t.strictSame(await site.state(), placed);
  });

  t.test(
    `start.local_state = "manager": ${what} becomes the head, the head before is a snapshot`,
    async (t) => {
      const site = await siteWithTwoRuns(t, { start: { local_state: 'manager' } });
      await site.put(placed);
      t.equal((await site.prepare()).status, 0);
      t.strictSame(await site.state(), placed);
      const history = await site.history();
      t.match(history[0], { reason: 'placed', head: true });
      t.ok(
        history.some(({ pins = [] }) => pins.some((name) => name.startsWith('before-placed-'))),
        'the head before is kept',
      );
    },
  );

  t.test(`start.local_state = "share": the head goes on, and ${what} is kept`, async (t) => {
    const site = await siteWithTwoRuns(t, { start: { local_state: 'share' } });
    await site.put(placed);
    t.equal((await site.prepare()).status, 0);
    t.strictSame(await site.state(), SECOND);
  });
}

t.test(
  'what a manager replaces at every start is kept five times, and what an operator named for ever',
  async (t) => {
    const site = await siteWithTwoRuns(t, { start: { local_state: 'manager' } });
    const agent = await site.host.startAgent(t);
    await site.host.runJson(['snapshot', 'create', DOMAIN, 'before-placed-by-hand']);
    for (let round = 0; round < 7; round++) {
      await site.put(round % 2 === 0 ? FIRST : THIRD);
      t.equal((await site.prepare()).status, 0);
      for (const verb of ['started', 'stopped']) await site.host.run(['domain', verb, DOMAIN]);
    }
    await agent.stop();
    const pins = (await site.history()).flatMap(({ pins = [] }) => pins);
    t.equal(pins.filter((name) => /^before-placed-\d+$/.test(name)).length, 5);
    t.ok(pins.includes('before-placed-by-hand'));
  },
);

t.test('another TPM is never the head, whoever put it there', async (t) => {
  for (const localState of ['refuse', 'manager'] as const) {
    const site = await siteWithTwoRuns(t, { start: { local_state: localState } });
    await site.put(OTHER_TPM);
    t.match(await site.prepare(), { status: 3 }, localState);
    t.strictSame(await site.state(), OTHER_TPM);
  }
});

/** The state with one byte of its header changed. */
function changed(state: Uint8Array, at: number, value: number): Uint8Array {
  const copy = new Uint8Array(state);
  copy[at] = value;
  return copy;
}

t.test('G4: a state that is not understood loses to no head', async (t) => {
  for (const [what, unknown] of [
    ['a newer header', changed(SECOND, 0, 3)],
    ['unknown flags', changed(SECOND, 4, 0x40)],
    ['a longer header', changed(SECOND, 3, 12)],
  ] as const) {
    const site = await Site.create(t);
    await site.run(FIRST);
    await site.put(unknown);
    const refused = await site.prepare();
    t.not(refused.status, 0, what);
    t.match(refused.stderr, /resolve|upgrade/, what);
    t.strictSame(await site.state(), unknown, `${what}: nothing was touched`);
  }
});

t.test('G5: a final state that cannot be stored is kept, before its manager may delete it', async (t) => {
  for (const [what, unknown] of [
    ['a newer header', changed(SECOND, 0, 3)],
    ['unknown flags', changed(SECOND, 4, 0x40)],
  ] as const) {
    const site = await Site.create(t);
    await site.run(FIRST);
    for (const verb of ['prepare', 'started']) await site.host.run(['domain', verb, DOMAIN]);
    await site.put(unknown);
    t.not((await site.host.run(['domain', 'stopped', DOMAIN])).status, 0, what);
    await rm(site.host.tpmDirectory(DOMAIN), { recursive: true });
    const home = join(site.host.stateDirectory, 'set-aside', DOMAIN);
    const copies = await Promise.all(
      (await readdir(home)).map((name) => readFile(join(home, name, 'tpm2/tpm2-00.permall'))),
    );
    t.ok(
      copies.some((copy) => copy.equals(unknown)),
      `${what}: every byte is there`,
    );
    for (const again of [1, 2]) {
      t.not((await site.host.run(['domain', 'stopped', DOMAIN])).status, 0, `told ${again} times more`);
      t.match(
        await site.prepare(),
        { status: 3, stderr: /STATE_NOT_STORED: .*set-aside.*--keep head/s },
        `${what}: the head, which is older, does not come up in silence`,
      );
    }
    t.match(
      await site.host.runJson(['status', DOMAIN]),
      { domains: [{ behind: 'unread', attention: [{ code: 'STATE_NOT_STORED' }] }] },
      'told without an agent, too',
    );
    await site.put(unknown);
    t.match(await site.prepare(), { status: 5, stderr: /STATE_NOT_UNDERSTOOD/ }, 'put back, it is judged');
    await rm(site.host.tpmDirectory(DOMAIN), { recursive: true });
    t.equal((await site.host.run(['resolve', DOMAIN, '--keep', 'head'])).status, 0);
    t.equal((await site.prepare()).status, 0, 'the operator has chosen');
    t.strictSame(await site.state(), FIRST);
  }
});

t.test('G5: a final state that was put right while the stop waits is the one that counts', async (t) => {
  const site = await Site.create(t);
  await site.run(FIRST);
  for (const verb of ['prepare', 'started']) await site.host.run(['domain', verb, DOMAIN]);
  await site.put(changed(SECOND, 0, 3));
  t.not((await site.host.run(['domain', 'stopped', DOMAIN])).status, 0);
  await site.put(SECOND);
  t.equal((await site.host.run(['domain', 'stopped', DOMAIN])).status, 0);
  await rm(site.host.tpmDirectory(DOMAIN), { recursive: true });
  t.equal((await site.prepare()).status, 0);
  t.strictSame(await site.state(), SECOND);
});

t.test(
  'a final state that is provably torn leaves nothing that a start would have to wait for',
  async (t) => {
    const site = await Site.create(t);
    await site.run(FIRST);
    for (const verb of ['prepare', 'started']) await site.host.run(['domain', verb, DOMAIN]);
    await site.put(SECOND.subarray(0, 9));
    await site.host.run(['domain', 'stopped', DOMAIN]);
    await rm(site.host.tpmDirectory(DOMAIN), { recursive: true });
    t.equal((await site.prepare()).status, 0);
    t.strictSame(await site.state(), FIRST);
  },
);

t.test('a state that a power loss provably tore gives way to the head', async (t) => {
  for (const length of [0, 9, SECOND.length - 1]) {
    const site = await Site.create(t);
    await site.run(FIRST);
    await site.put(SECOND.subarray(0, length));
    const { status, stderr } = await site.prepare();
    t.equal(status, 0, `${String(length)} bytes: ${stderr}`);
    t.strictSame(await site.state(), FIRST);
  }
});

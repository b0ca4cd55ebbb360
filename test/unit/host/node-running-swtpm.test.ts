import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { RunningSwtpm } from '../../../src/host/node-running-swtpm.js';
import { parseDomainUuid } from '../../../src/model/identifiers.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const ROOT = '/var/lib/libvirt/swtpm';
const ONE = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const OTHER = '0d9f3a51-22c4-4e6b-8a77-5c1e2f3a4b5c';

interface Seen {
  readonly comm?: string;
  readonly words?: readonly string[];
  readonly startTime?: number;
  readonly state?: string;
}

/** Stands for `/proc`: what the kernel shows of a process, as proc(5) describes it. */
class Processes {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  static async create(t: Test): Promise<Processes> {
    const processes = new Processes(await temporaryDirectory(t));
    await writeFile(join(processes.root, 'uptime'), '1 1');
    return processes;
  }

  async add(
    pid: number,
    { comm = 'swtpm', words = swtpmOf(ONE), startTime = 100, state = 'S' }: Seen = {},
  ): Promise<void> {
    const directory = join(this.root, String(pid));
    await mkdir(directory, { recursive: true });
    const between = Array.from({ length: 18 }, () => '0').join(' ');
    await writeFile(join(directory, 'stat'), `${pid} (${comm}) ${state} ${between} ${startTime} 0 0\n`);
    await writeFile(join(directory, 'cmdline'), `${words.join('\0')}\0`);
  }

  async end(pid: number): Promise<void> {
    await rm(join(this.root, String(pid)), { recursive: true });
  }
}

function swtpmOf(uuid: string): string[] {
  return ['/usr/bin/swtpm', 'socket', '--tpmstate', `dir=${ROOT}/${uuid}/tpm2,mode=0600`];
}

async function listed(running: RunningSwtpm): Promise<string[]> {
  return [...(await running.list())].sort();
}

t.test('a domain runs when a swtpm works on its directory', async (t) => {
  const processes = await Processes.create(t);
  await processes.add(10);
  await processes.add(11, { comm: '.swtpm-wrapped', words: swtpmOf(OTHER) });
  const running = new RunningSwtpm(ROOT, processes.root);
  t.strictSame(await listed(running), [OTHER, ONE]);
  await processes.end(10);
  t.strictSame(await listed(running), [OTHER]);
});

t.test('other programs that name a directory are not taken for its swtpm', async (t) => {
  const processes = await Processes.create(t);
  for (const [at, comm] of ['swtpm_setup', 'cp', 'x) S (swtpm', 'swtpm2'].entries()) {
    await processes.add(20 + at, { comm });
  }
  await processes.add(30, {
    words: ['/usr/bin/swtpm', 'socket', '--tpmstate', `dir=/elsewhere/${ONE}/tpm2`],
  });
  t.strictSame(await listed(new RunningSwtpm(ROOT, processes.root)), []);
});

t.test('an id that another swtpm has now names another domain', async (t) => {
  const processes = await Processes.create(t);
  await processes.add(10);
  const running = new RunningSwtpm(ROOT, processes.root);
  t.strictSame(await listed(running), [ONE]);
  await processes.add(10, { words: swtpmOf(OTHER), startTime: 200 });
  t.strictSame(await listed(running), [OTHER]);
});

t.test('one that has ended runs no more, though its parent has not noticed', async (t) => {
  const processes = await Processes.create(t);
  await processes.add(10);
  const running = new RunningSwtpm(ROOT, processes.root);
  t.strictSame(await listed(running), [ONE]);
  await processes.add(10, { state: 'Z', words: [] });
  t.strictSame(await listed(running), []);
});

t.test(
  'a domain runs when a swtpm works in the directory that its owner chose, however it is spelled',
  async (t) => {
    const processes = await Processes.create(t);
    const home = await temporaryDirectory(t);
    await mkdir(join(home, 'disk/tpm'), { recursive: true });
    await symlink('disk', join(home, 'link'));
    const spellings = [
      'disk/tpm',
      'disk/tpm/',
      'disk//tpm',
      'disk/./tpm',
      'disk/x/../tpm',
      'link/tpm',
      'link/tpm/.',
    ];
    for (const [at, spelling] of spellings.entries()) {
      for (const state of [`dir=${home}/${spelling},mode=0600`, `backend-uri=dir://${home}/${spelling}`]) {
        await processes.add(20 + at, { words: ['swtpm', 'socket', '--tpmstate', state], startTime: 7 });
        const running = new RunningSwtpm(ROOT, processes.root);
        t.strictSame(await listed(running), [], `${state}: nobody knows whose it is`);
        t.ok((await running.strangers()).includes(join(home, 'disk/tpm')));
        running.know(parseDomainUuid(ONE), join(home, 'disk/tpm'));
        t.strictSame(await listed(running), [ONE], state);
        t.strictSame(await running.strangers(), []);
        running.know(parseDomainUuid(ONE), undefined);
        t.strictSame(await listed(running), []);
        await processes.end(20 + at);
      }
    }
  },
);

t.test("libvirt's own place is known in every spelling of it, and by its link", async (t) => {
  const processes = await Processes.create(t);
  const home = await temporaryDirectory(t);
  await mkdir(join(home, 'disk', ONE, 'tpm2'), { recursive: true });
  await symlink('disk', join(home, 'swtpm'));
  for (const configured of [join(home, 'swtpm'), join(home, 'disk'), `${home}/swtpm/`]) {
    for (const used of ['swtpm', 'disk', '/disk/', './swtpm']) {
      await processes.add(9, { words: ['swtpm', '--tpmstate', `dir=${home}/${used}/${ONE}/tpm2,mode=0600`] });
      t.strictSame(
        await listed(new RunningSwtpm(configured, processes.root)),
        [ONE],
        `${configured} ${used}`,
      );
      await processes.end(9);
    }
  }
});

import { chmod, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseHostName } from '../../../src/model/identifiers.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { HostFixture } from '../../fixtures/host.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const NAME = 'kvm-a';

interface Rig {
  readonly a: HostFixture;
  readonly b: HostFixture;
  readonly heartbeat: string;
  /** Whether kvm-a counts as alive, as kvm-b sees it. */
  readonly isAlive: () => Promise<boolean>;
}

/** kvm-a has beaten once, a moment ago; nobody beats any more, and nothing expires while the test runs. */
async function makeRig(t: Test): Promise<Rig> {
  const base = await temporaryDirectory(t);
  const settings = { timing: { host_expiry: '10m', heartbeat: '20s' } };
  const share = join(base, 'share');
  const [a, b] = [
    await HostFixture.create({ name: NAME, base, share, settings }),
    await HostFixture.create({ name: 'kvm-b', base, share, settings }),
  ];
  await a.run(['share', 'init', share]);
  const agent = await a.startAgent(t);
  const heartbeat = join(share, 'hosts', NAME, 'heartbeat');
  await waitUntil('the first beat', 20_000, async () => {
    const size = (await stat(heartbeat).catch(() => undefined))?.size ?? 0;
    return size > 0 ? size : undefined;
  });
  agent.signal('SIGKILL');
  await agent.exited;
  const isAlive = async (): Promise<boolean> => {
    const { hosts } = (await b.runJson(['status', '--all-hosts'])) as {
      hosts: { host: string; alive: boolean }[];
    };
    return hosts.find(({ host }) => host === NAME)?.alive ?? false;
  };
  return { a, b, heartbeat, isAlive };
}

t.test('a host that was declared dead is, until it beats again, whatever that beat changes', async (t) => {
  const { b, heartbeat, isAlive } = await makeRig(t);
  t.equal(await isAlive(), true);
  t.match(await b.run(['host', 'fenced', NAME]), {
    status: 0,
    stdout: /counts as dead until it beats again/,
  });
  t.equal(await isAlive(), false);
  t.match((await b.run(['status', '--all-hosts'])).stdout, /FENCED/);
  const { atime, mtime } = await stat(heartbeat);
  const beat = await readFile(heartbeat);
  const later = Buffer.from(beat.toString().replace(/\d/g, '7'));
  await writeFile(heartbeat, later);
  await utimes(heartbeat, atime, mtime);
  t.equal(await isAlive(), true, 'another text at the very same time');
  await writeFile(heartbeat, beat);
  t.equal(await isAlive(), true, 'the same text at another time');
  t.equal((await b.run(['host', 'fenced', NAME])).status, 0);
  t.equal(await isAlive(), false, 'declared again, of the new beat');
});

t.test('a mark that cannot be read declares nobody dead', async (t) => {
  const { b, heartbeat, isAlive } = await makeRig(t);
  await b.run(['host', 'fenced', NAME]);
  const mark = join(heartbeat, '../fenced');
  const whole = await readFile(mark, 'utf8');
  for (const text of ['', '{', '[]', '{"beat":1}', whole.slice(0, -5), whole.replace('mtimeNs', 'mtime')]) {
    await writeFile(mark, text);
    t.equal(await isAlive(), true, text);
  }
  await chmod(mark, 0o600);
  t.strictSame((await readdir(join(heartbeat, '..'))).sort(), ['fenced', 'heartbeat', 'host.json']);
});

t.test('neither this host nor one that never beat can be declared dead', async (t) => {
  const { a, b } = await makeRig(t);
  t.match(await a.run(['host', 'fenced', NAME]), { status: 2, stderr: /is this host, which is alive/ });
  t.match(await b.run(['host', 'fenced', 'kvm-z']), { status: 2, stderr: /no heartbeat on this share/ });
  t.equal((await b.run(['host', 'fenced', '../kvm-a'])).status, 2);
  t.equal(parseHostName(NAME), NAME);
});

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';

t.test(
  'G4: a start waits for a dead host, or is refused at once with the time left, or starts at once when it is declared dead',
  async (t) => {
    const { a, b } = await makeRig(t);
    for (const verb of ['prepare', 'started']) {
      t.equal(
        (await a.run(['domain', verb, UUID, '--name', 'web'].slice(0, verb === 'prepare' ? 5 : 3))).status,
        0,
      );
    }
    await b.configure({
      timing: { host_expiry: '60s', heartbeat: '20s' },
      start: { wait: 'refuse-at-once' },
    });
    const began = Date.now();
    const refused = await b.run(['domain', 'prepare', UUID, '--name', 'db']);
    t.ok(Date.now() - began < 25_000, 'at once');
    t.match(refused, { status: 3, stderr: /HELD_ELSEWHERE: .*silent for \d+ seconds? more/ });
    t.match(
      refused.stderr,
      /try again in \d+ seconds?, or declare it so with `swtpm-mirror host fenced kvm-a`/,
    );
    t.equal((await b.run(['host', 'fenced', NAME])).status, 0);
    t.notMatch((await b.run(['domain', 'prepare', UUID, '--name', 'web'])).stderr, /HELD_ELSEWHERE/);
  },
);

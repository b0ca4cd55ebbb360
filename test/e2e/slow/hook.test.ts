/**
 * The hook as libvirt runs it, without libvirt: its descriptors, its exit status, and what it leaves running.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { copyFile, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ownUuid } from '../../fixtures/domain-uuid.js';
import { domainXml } from '../../fixtures/domain-xml.js';
import { HostFixture } from '../../fixtures/host.js';
import { runCommand } from '../../fixtures/process.js';
import { builtProgram, runProgram } from '../../fixtures/program.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const UUID = ownUuid('6b0c2d4e');
const XML = domainXml({ uuid: UUID, name: 'guest' });
const RELEASE_TIMEOUT_MS = 20_000;

async function makeHost(t: Test, initialised = true): Promise<HostFixture> {
  const base = await temporaryDirectory(t);
  const host = await HostFixture.create({ name: 'kvm-a', base, share: join(base, 'share') });
  if (initialised) t.equal((await host.run(['share', 'init', host.share])).status, 0);
  return host;
}

async function putState(host: HostFixture): Promise<Buffer> {
  const { data } = readStateBlob('used.permall');
  await mkdir(host.tpmDirectory(UUID), { recursive: true });
  await writeFile(join(host.tpmDirectory(UUID), 'tpm2-00.permall'), data);
  return Buffer.from(data);
}

function hook(
  host: HostFixture,
  operation: string,
  extra = '-',
  input = XML,
): ReturnType<HostFixture['run']> {
  return host.run(['hook', 'guest', operation, 'begin', extra], { input });
}

interface Line {
  readonly kind: string;
  readonly reason: string;
}

async function logOf(host: HostFixture): Promise<Line[]> {
  return (await host.runJson(['history', UUID, '--all'])) as Line[];
}

t.test('the hooks of a whole life publish the state and release it, and print nothing', async (t) => {
  const host = await makeHost(t);
  await putState(host);
  for (const operation of ['prepare', 'start', 'started', 'stopped', 'release']) {
    const { status, stdout, stderr } = await hook(host, operation);
    t.strictSame({ operation, status, stdout, stderr }, { operation, status: 0, stdout: '', stderr: '' });
  }
  t.match(await logOf(host), [
    { kind: 'release', reason: 'stopped' },
    { kind: 'claim' },
    { kind: 'claim' },
    { kind: 'publish' },
  ]);
});

t.test('a domain whose name looks like an option is one like any other', async (t) => {
  const host = await makeHost(t);
  const args = ['hook', '--config', host.config, '--', '--help', 'prepare', 'begin', '-'];
  const { status, stderr } = await runProgram(args, { input: domainXml({ uuid: UUID, name: '--help' }) });
  t.strictSame({ status, stderr }, { status: 0, stderr: '' });
});

t.test('G8: a start that cannot be decided is refused, in two lines on stderr', async (t) => {
  const host = await makeHost(t, false);
  const { status, stdout, stderr } = await hook(host, 'prepare');
  t.equal(status, 4);
  t.equal(stdout, '');
  t.match(stderr, /^swtpm-mirror: SHARE_NOT_INITIALIZED: .+\n {2}.+\n$/);
  t.match(await hook(host, 'prepare', '-', 'not XML'), { status: 2, stderr: /^swtpm-mirror: XML_INVALID: / });
});

t.test('G5: a reconnect succeeds whatever is wrong, or libvirt would kill the domain', async (t) => {
  const host = await makeHost(t, false);
  t.match(await hook(host, 'reconnect'), { status: 0, stdout: '' });
  t.match(await hook(host, 'reconnect', '-', 'not XML'), { status: 0, stdout: '', stderr: /XML_INVALID/ });
  await writeFile(host.config, 'no configuration');
  t.match(await hook(host, 'attach'), { status: 0, stdout: '', stderr: /CONFIG_INVALID/ });
});

t.test('a domain without a TPM starts even where nothing is configured', async (t) => {
  const host = await makeHost(t, false);
  await writeFile(host.config, 'no configuration');
  const plain = domainXml({ uuid: UUID, name: 'guest', devices: '' });
  t.match(await hook(host, 'prepare', '-', plain), { status: 0, stdout: '', stderr: '' });
});

t.test('G4: an incoming migration restores nothing, once; the next start is an ordinary one', async (t) => {
  const host = await makeHost(t);
  const source = await HostFixture.create({
    name: 'kvm-b',
    base: await temporaryDirectory(t),
    share: host.share,
  });
  await putState(host);
  for (const operation of ['prepare', 'started', 'release']) {
    t.match(await hook(host, operation), { status: 0 });
  }
  for (const operation of ['prepare', 'started']) t.match(await hook(source, operation), { status: 0 });
  const log = await logOf(host);
  await writeFile(join(host.tpmDirectory(UUID), 'tpm2-00.permall'), readStateBlob('fresh-b.permall').data);
  for (const operation of ['migrate', 'prepare', 'started']) {
    t.match(await hook(host, operation), { status: 0, stdout: '', stderr: '' }, operation);
  }
  t.match(await hook(host, 'release', 'failed'), { status: 0 });
  t.strictSame(await logOf(host), log, 'a failed one claims and publishes nothing');
  t.match(await hook(source, 'release'), { status: 0 });
  t.match(await hook(host, 'prepare'), { status: 3, stderr: /FOREIGN_TPM/ }, 'and what it left is looked at');
});

t.test('G4: a domain that migrated away is released and its stale state not published', async (t) => {
  const host = await makeHost(t);
  await putState(host);
  for (const operation of ['prepare', 'started']) await hook(host, operation);
  await writeFile(
    join(host.tpmDirectory(UUID), 'tpm2-00.permall'),
    readStateBlob('used-restarted.permall').data,
  );
  t.match(await hook(host, 'release', 'migrated'), { status: 0 });
  const entries = await logOf(host);
  t.match(entries[0], { kind: 'release', reason: 'migrated' });
  t.equal(entries.filter(({ kind }) => kind === 'publish').length, 1);
});

t.test('where an agent runs, the hook asks it and loads nothing else of the program', async (t) => {
  const host = await makeHost(t);
  await host.startAgent(t);
  const alone = join(await temporaryDirectory(t), 'swtpm-mirror.cjs');
  await copyFile(await builtProgram(), alone);
  const run = async (operation: string, input = XML): ReturnType<typeof runCommand> =>
    await runCommand(
      process.execPath,
      [alone, 'hook', '--config', host.config, '--', 'guest', operation, 'begin', '-'],
      { input },
    );
  for (const operation of ['prepare', 'start', 'started', 'stopped']) {
    t.match(await run(operation), { status: 0, stderr: '' }, operation);
  }
  t.match(await host.runJson(['status', UUID]), { domains: [{ state: 'running', name: 'guest' }] });
  t.match(await run('prepare', 'not XML'), {
    status: 2,
    stderr: /^swtpm-mirror: XML_INVALID: .+\n {2}.+\n$/,
  });
  t.match(await run('reconnect', 'not XML'), { status: 0, stderr: /XML_INVALID/ });
  await putState(host);
  t.match(await run('release'), { status: 0, stderr: '' });
  t.match((await logOf(host))[0], { kind: 'release', reason: 'stopped' });
});

t.test('no process that the hook starts keeps a descriptor of its caller', async (t) => {
  const host = await makeHost(t);
  await putState(host);
  const child = spawn(
    process.execPath,
    [await builtProgram(), 'hook', '--config', host.config, '--', 'guest', 'prepare', 'begin', '-'],
    {
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  );
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const closed = new Promise((resolve) => child.once('close', resolve));
  const mine = await Promise.all([1, 2].map((fd) => readlink(`/proc/${child.pid}/fd/${fd}`)));
  child.stdin.end(XML);
  const grandchild = await waitUntil('the storage process', 10_000, () => childOf(child.pid!));
  // Until it has become the program that it is to be, it has what it was forked with.
  const isWithoutMine = async (): Promise<true | undefined> => {
    const links = await linksOf(grandchild);
    return links.length > 0 && !links.some((link) => mine.includes(link)) ? true : undefined;
  };
  t.ok(await waitUntil("none of the caller's descriptors among its own", 10_000, isWithoutMine));
  t.equal(await ended, 0);
  await closed;
  const isGone = (): true | undefined => (existsSync(`/proc/${grandchild}`) ? undefined : true);
  t.ok(await waitUntil('the storage process to end with its hook', 5_000, isGone));
});

async function childOf(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text === '' ? undefined : Number(text.split(' ')[0]);
}

async function linksOf(pid: number): Promise<string[]> {
  const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
  return await Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
}

/** Sends a request to an agent that is stopped, and is gone before it could answer. */
async function askAndGiveUp(host: HostFixture, path: string, body: string): Promise<void> {
  const asked = request({ socketPath: host.controlSocket, method: 'POST', path });
  asked.on('error', () => undefined);
  const gone = new Promise((resolve) => asked.on('close', resolve));
  await new Promise<void>((resolve) => asked.end(body, resolve));
  asked.destroy();
  await gone;
}

for (const [who, path, body] of [
  ["libvirt's hook", '/v1/hook?operation=prepare&extra=-', XML],
  ['a manager', `/v1/domains/${UUID}/prepare`, '{"name":"guest"}'],
] as const) {
  t.test(`G4: a start that ${who} has given up meanwhile is none, and holds nothing`, async (t) => {
    const host = await makeHost(t);
    await putState(host);
    const agent = await host.startAgent(t);
    agent.signal('SIGSTOP');
    await askAndGiveUp(host, path, body);
    agent.signal('SIGCONT');
    await waitUntil('the volume to be given back', RELEASE_TIMEOUT_MS, async () => {
      const [newest] = await logOf(host).catch(() => []);
      return newest?.kind === 'release' ? true : undefined;
    });
    t.match((await logOf(host))[0], { kind: 'release', reason: 'start-failed' });
    t.match(await host.runJson(['status', UUID]), { domains: [{ state: 'stopped' }] });
    t.match(await hook(host, 'prepare'), { status: 0 }, 'and it can be started');
  });
}

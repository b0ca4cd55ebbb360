/**
 * libvirt's hook as it is installed, in each shell that may be /bin/sh: it asks the agent through curl, and
 * falls back to the program where anything is not as expected. Its Node is one that only notes that it was run.
 */
import { spawn } from 'node:child_process';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hookScript } from '../../../src/cli/install-files.js';
import { HOOK_OPERATIONS } from '../../../src/libvirt/hook-operation.js';
import { ownUuid } from '../../fixtures/domain-uuid.js';
import { domainXml } from '../../fixtures/domain-xml.js';
import { HostFixture } from '../../fixtures/host.js';
import { runChecked, runCommand, type CommandOptions } from '../../fixtures/process.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const SHELLS: Readonly<Record<string, readonly string[]>> = {
  dash: ['dash'],
  bash: ['bash', '--posix'],
  busybox: ['busybox', 'sh'],
};
const UUID = ownUuid('6b0c2d4e');
const XML = domainXml({ uuid: UUID, name: 'guest' });
const BARE = domainXml({ uuid: UUID, name: 'guest', devices: '' });
const RUN = '0123456789abcdef';
/** What the noting Node ends with: no other part gives it. */
const BY_PROGRAM = 77;
const RELEASE_TIMEOUT_MS = 20_000;

interface Answer {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

class Hook {
  readonly host: HostFixture;
  readonly path: string;
  readonly noted: string;
  readonly shell: readonly string[];

  constructor(host: HostFixture, path: string, noted: string, shell: readonly string[]) {
    this.host = host;
    this.path = path;
    this.noted = noted;
    this.shell = shell;
  }

  async run(operation: string, input = XML, options: CommandOptions = {}, name = 'guest'): Promise<Answer> {
    const args = [...this.shell, this.path, name, operation, 'begin', '-'];
    const { status, stdout, stderr } = await runCommand('env', args, { input, ...options });
    return { status, stdout: stdout.toString(), stderr };
  }

  /** The operations for which the program was run. */
  async byProgram(): Promise<string[]> {
    const text = await readFile(this.noted, 'utf8').catch(() => '');
    return text.split('\n').filter((line) => line !== '');
  }
}

interface HookOptions {
  readonly curl?: string;
}

async function makeHook(t: Test, shell: readonly string[], options: HookOptions = {}): Promise<Hook> {
  const base = await temporaryDirectory(t);
  const host = await HostFixture.create({ name: 'kvm-a', base, share: join(base, 'share') });
  t.equal((await host.run(['share', 'init', host.share])).status, 0);
  const [hook, node, noted] = [join(base, 'hook'), join(base, 'node'), join(base, 'noted')];
  await writeFile(node, `#!/bin/sh\ncat >/dev/null\necho "$7" >>${noted}\nexit ${BY_PROGRAM}\n`, {
    mode: 0o755,
  });
  const script = hookScript({
    node,
    program: node,
    config: host.config,
    runDir: host.runDirectory,
    ...options,
  });
  await writeFile(hook, script, { mode: 0o755 });
  return new Hook(host, hook, noted, shell);
}

async function putState({ host }: Hook): Promise<void> {
  await mkdir(host.tpmDirectory(UUID), { recursive: true });
  await writeFile(join(host.tpmDirectory(UUID), 'tpm2-00.permall'), readStateBlob('used.permall').data);
}

function noteOf(config: string, patience = '5', run = RUN): string {
  return `${run}\n${patience}\n${config}\n`;
}

async function leaveNote({ host }: Hook, ...rest: readonly [string?, string?]): Promise<void> {
  await writeFile(join(host.runDirectory, 'hook'), noteOf(host.config, ...rest));
}

/** Something at the agent's place. @returns what it was sent */
async function pretend(t: Test, { host }: Hook, answer: (socket: Socket) => void): Promise<Buffer[]> {
  const seen: Buffer[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (data: Buffer) => {
      seen.push(data);
      // Only when the request is there as a whole, as an agent would.
      if (Buffer.concat(seen).includes('</domain>')) answer(socket);
    });
  });
  await rm(host.controlSocket, { force: true });
  await new Promise<void>((resolve) => server.listen(host.controlSocket, resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return seen;
}

function http(body: string, length = Buffer.byteLength(body), status = '200 OK'): string {
  return `HTTP/1.1 ${status}\r\nContent-Length: ${length}\r\n\r\n${body}`;
}

for (const [name, shell] of Object.entries(SHELLS)) {
  t.test(`${name}: a whole life is told to the agent, and Node is never started`, async (t) => {
    const hook = await makeHook(t, shell);
    const agent = await hook.host.startAgent(t);
    await putState(hook);
    for (const operation of ['prepare', 'start', 'started', 'reconnect', 'attach', 'stopped', 'release']) {
      t.strictSame(await hook.run(operation), { status: 0, stdout: '', stderr: '' }, operation);
      if (operation === 'started') {
        t.match(await hook.host.runJson(['status', UUID]), {
          domains: [{ state: 'running', name: 'guest' }],
        });
      }
    }
    t.match(await hook.host.runJson(['history', UUID, '--all']), [{ kind: 'release', reason: 'stopped' }]);
    const refused = await hook.run('prepare', '<domain><tpm');
    t.equal(refused.status, 2);
    t.match(refused.stderr, /^swtpm-mirror: XML_INVALID: [^\n]+\n {2}[^\n]+\n$/);
    t.match(await hook.run('reconnect', '<domain><tpm'), { status: 0, stdout: '', stderr: /XML_INVALID/ });
    for (const odd of ['--help', '$(touch /tmp/x)`id`', '"; exit 9; "', "it's\na\tname", '*', '-q', 'ä\\n']) {
      const answer = await hook.run('started', XML, {}, odd);
      t.strictSame(answer, { status: 0, stdout: '', stderr: '' }, JSON.stringify(odd));
    }
    t.strictSame(await hook.byProgram(), []);
    agent.signal('SIGTERM');
    await agent.exited;
    t.equal((await hook.run('prepare')).status, BY_PROGRAM, 'an agent that has ended is not asked');
  });

  t.test(`${name}: ~/.curlrc and the environment's proxies change nothing`, async (t) => {
    const hook = await makeHook(t, shell);
    await hook.host.startAgent(t);
    const home = await temporaryDirectory(t);
    await writeFile(
      join(home, '.curlrc'),
      'proxy = "http://127.0.0.1:1"\nverbose\nfail\ninclude\nmax-time = 0.001\n',
    );
    const proxy = 'http://127.0.0.1:1';
    const env = {
      HOME: home,
      CURL_HOME: home,
      XDG_CONFIG_HOME: home,
      http_proxy: proxy,
      HTTP_PROXY: proxy,
      all_proxy: proxy,
      ALL_PROXY: proxy,
      no_proxy: undefined,
      LC_ALL: 'C.UTF-8',
      IFS: 'o',
    };
    t.strictSame(await hook.run('prepare', XML, { env }), { status: 0, stdout: '', stderr: '' });
    t.strictSame(await hook.byProgram(), []);
  });

  t.test(`${name}: a prepare whose answer does not come is refused, and the agent undoes it`, async (t) => {
    const hook = await makeHook(t, shell);
    const agent = await hook.host.startAgent(t);
    await putState(hook);
    const note = join(hook.host.runDirectory, 'hook');
    const [run = ''] = (await readFile(note, 'utf8')).split('\n');
    await leaveNote(hook, '1', run);
    agent.signal('SIGSTOP');
    const refused = await hook.run('prepare');
    t.equal(refused.status, 1);
    t.match(refused.stderr, /^swtpm-mirror: AGENT_UNREACHABLE: .*no answer within 1 s\n {2}see `systemctl/);
    t.match(await hook.run('reconnect'), { status: 0 });
    t.match(await hook.run('prepare', BARE), { status: 0, stderr: '' }, 'without a TPM it starts');
    agent.signal('SIGCONT');
    await waitUntil('the volume to be given back', RELEASE_TIMEOUT_MS, async () => {
      const log = (await hook.host.runJson(['history', UUID, '--all']).catch(() => [])) as { kind: string }[];
      return log[0]?.kind === 'release' ? true : undefined;
    });
    t.match(await hook.host.runJson(['history', UUID, '--all']), [{ reason: 'start-failed' }]);
    t.strictSame(await hook.byProgram(), [], 'nothing was done a second time');
  });

  t.test(`${name}: an answer that is not the agent's, or not whole, is left to the program`, async (t) => {
    const hook = await makeHook(t, shell);
    await leaveNote(hook);
    const answers: Readonly<Record<string, string>> = {
      'none at all': '',
      'half a header': 'HTTP/1.1 200 OK\r\nContent-Le',
      'a part': http('hook 0', 7),
      'no HTTP': 'hook 0\n',
      'the JSON of an agent of an earlier version': http('{}\n'),
      'an error in JSON': http('{"error":{"code":"USAGE"}}\n', undefined, '400 Bad Request'),
      'no status': http('hook \n'),
      'a status that is none': http('hook 256\n'),
      'a status with more behind it': http('hook 0; exit 0\n'),
      'another word': http('look 0\n'),
      'an empty body': http(''),
    };
    let text = '';
    await pretend(t, hook, (socket) => socket.end(text));
    for (const [what, answer] of Object.entries(answers)) {
      text = answer;
      t.equal((await hook.run('prepare')).status, BY_PROGRAM, what);
      t.equal((await hook.run('reconnect')).status, 0, `${what}, at a reconnect`);
      t.match(
        await hook.run('prepare', BARE),
        { status: 0, stdout: '', stderr: '' },
        `${what}, without a TPM`,
      );
    }
    text = http('hook 3\nswtpm-mirror: X: $(id) `id` %s \\n "\n  next\n');
    t.strictSame(await hook.run('prepare'), {
      status: 3,
      stdout: '',
      stderr: 'swtpm-mirror: X: $(id) `id` %s \\n "\n  next\n',
    });
  });

  t.test(`${name}: only the agent of its own configuration is asked, by its note`, async (t) => {
    const hook = await makeHook(t, shell);
    const seen = await pretend(t, hook, (socket) => socket.end(http('hook 0\n')));
    const notes: Readonly<Record<string, Parameters<typeof noteOf>>> = {
      'another configuration': [`${hook.host.config}.other`],
      'a configuration whose name goes on': [`${hook.host.config} `],
      'no patience': [hook.host.config, ''],
      'a patience that is no number': [hook.host.config, '5 --output /tmp/x'],
      'no run': [hook.host.config, '5', ''],
      'a run that is no name of one': [hook.host.config, '5', '../status?'],
    };
    t.equal((await hook.run('prepare')).status, BY_PROGRAM, 'no note');
    for (const [what, note] of Object.entries(notes)) {
      await writeFile(join(hook.host.runDirectory, 'hook'), noteOf(...note));
      t.equal((await hook.run('prepare')).status, BY_PROGRAM, what);
    }
    await writeFile(join(hook.host.runDirectory, 'hook'), RUN);
    t.equal((await hook.run('prepare')).status, BY_PROGRAM, 'half a note');
    t.strictSame(seen, [], 'nothing was sent');
    await leaveNote(hook);
    t.equal((await hook.run('prepare')).status, 0);
  });

  t.test(`${name}: the agent that is asked is the one that left the note, or nothing is done`, async (t) => {
    const hook = await makeHook(t, shell);
    const agent = await hook.host.startAgent(t);
    await leaveNote(hook, '5', 'abcdef');
    t.equal((await hook.run('prepare')).status, BY_PROGRAM, 'a note that another run left');
    t.match(await hook.host.runJson(['status']), { domains: [] }, 'the agent did nothing for it');
    agent.signal('SIGKILL');
    await agent.exited;
    t.equal((await hook.run('prepare')).status, BY_PROGRAM, 'the socket of a dead agent');
    await hook.host.startAgent(t);
    t.equal((await hook.run('prepare')).status, 0, 'the next one left its own note');
  });

  t.test(`${name}: without curl everything goes to the program`, async (t) => {
    const hook = await makeHook(t, shell, { curl: '/none/curl' });
    await hook.host.startAgent(t);
    for (const operation of HOOK_OPERATIONS) await hook.run(operation);
    t.strictSame(await hook.byProgram(), HOOK_OPERATIONS);
  });

  t.test(
    `${name}: XML of 1 MiB arrives whole, and input is read to its end at every operation`,
    async (t) => {
      const hook = await makeHook(t, shell);
      await leaveNote(hook);
      const seen = await pretend(t, hook, (socket) => socket.end(http('hook 0\n')));
      const long = XML.replace('</metadata>', `${'<a b="ä"/>'.repeat(100_000)}</metadata>`);
      t.equal((await hook.run('prepare', long)).status, 0);
      t.ok(Buffer.concat(seen).includes(long.trimEnd()), 'as libvirt gave it');
      for (const operation of [...HOOK_OPERATIONS, 'start', 'restore', 'new-in-a-later-version']) {
        t.equal(
          await brokenPipe([...shell, hook.path, 'guest', operation, 'begin', '-'], long),
          false,
          operation,
        );
      }
    },
  );

  t.test(`${name}: a user's own libvirtd starts its domains, quietly and at once`, async (t) => {
    const hook = await makeHook(t, shell);
    const open = await temporaryDirectory(t);
    await runChecked('chmod', ['755', open]);
    await copyFile(hook.path, join(open, 'hook'));
    const user = ['--reuid=65534', '--regid=65534', '--clear-groups'];
    for (const operation of [...HOOK_OPERATIONS, 'start']) {
      const args = [...user, ...shell, join(open, 'hook'), 'guest', operation, 'begin', '-'];
      const { status, stdout, stderr } = await runCommand('setpriv', args, { input: XML });
      t.strictSame(
        { status, stdout: String(stdout), stderr },
        { status: 0, stdout: '', stderr: '' },
        operation,
      );
    }
    t.strictSame(await hook.byProgram(), []);
  });

  t.test(`${name}: nothing outlives the hook, and nothing keeps its descriptors`, async (t) => {
    const hook = await makeHook(t, shell);
    await leaveNote(hook, '1');
    await pretend(t, hook, () => undefined);
    const command = [...shell, hook.path, 'guest', 'prepare', 'begin', '-'];
    const child = spawn('env', command, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const closed = new Promise((resolve) => child.once('close', resolve));
    child.stdout.resume();
    child.stderr.resume();
    child.stdin.end(XML);
    t.equal(await ended, 1);
    await closed;
    t.throws(() => process.kill(-child.pid!, 0), { code: 'ESRCH' }, 'its process group is empty');
  });
}

/** Whether the writer of its standard input met a closed pipe. */
async function brokenPipe(command: readonly string[], input: string): Promise<boolean> {
  const child = spawn('env', command, { stdio: ['pipe', 'ignore', 'ignore'] });
  let isBroken = false;
  child.stdin.on('error', () => (isBroken = true));
  child.stdin.end(input);
  await new Promise((resolve) => child.once('close', resolve));
  return isBroken;
}

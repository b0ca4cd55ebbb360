/**
 * Names and words from outside: none of them becomes a path, a second log entry, or a command to somebody's terminal.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { helpOfAll } from '../../fixtures/command-help.js';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { Site } from '../../fixtures/site.js';
import { readTree } from '../../fixtures/tree.js';

const TERMINAL_ORDER = '\u001b[2J\u001b]0;owned\u0007';
/** Anything that moves a cursor, but for the line ends of the program itself. */
const CONTROL = /[^\P{Cc}\n]|\p{Bidi_Control}/u;

t.test(
  'arguments that are no domain, generation or host change nothing and are shown harmlessly',
  async (t) => {
    const site = await Site.create(t);
    const host = await site.host('kvm-a');
    const guest = await Guest.start(t, host);
    await guest.stop();
    const before = [await readTree(join(site.share, 'volumes')), await readTree(host.swtpmDirectory)];
    const around = await readdir(site.base);
    const out = join(site.base, 'out');
    for (const name of ['../x', '', `${DOMAIN}\n`, TERMINAL_ORDER, '\u202egpj.exe', '-'.repeat(3000)]) {
      const commands = [
        ['domain', 'prepare', name],
        ...(name === '../x' ? [['restore', name, '--to', out]] : []),
        ['take-over', '--force', name],
      ];
      for (const { status, stdout, stderr } of await Promise.all(commands.map((args) => host.run(args)))) {
        t.ok(status === 2 || status === 6, `${JSON.stringify(name).slice(0, 40)} ends with status ${status}`);
        t.equal(stdout, '');
        t.match(stderr, /^swtpm-mirror: (USAGE|NO_SUCH_DOMAIN): [^\n]+\n {2}[^\n]+\n$/);
        t.notMatch(stderr, CONTROL);
      }
    }
    const generations = ['../1', '1e3', '0', '999999999'];
    const asked = generations.map((number) =>
      host.run(['restore', DOMAIN, `--generation=${number}`, '--to', out]),
    );
    for (const { status, stderr } of await Promise.all(asked)) {
      t.equal(status, 2, stderr);
      t.match(stderr, /^swtpm-mirror: USAGE: [^\n]+\n {2}[^\n]+\n$/);
    }
    t.strictSame([await readTree(join(site.share, 'volumes')), await readTree(host.swtpmDirectory)], before);
    t.strictSame(await readdir(site.base), around);
  },
);

for (const withAgent of [false, true]) {
  t.test(
    `a name and a reason full of control characters stay one name and one reason ${withAgent ? 'with' : 'without'} an agent`,
    async (t) => {
      const site = await Site.create(t);
      const host = await site.host('kvm-a');
      if (withAgent) await host.startAgent(t);
      const name = `vm\n${TERMINAL_ORDER}`;
      await mustRun(host, ['domain', 'prepare', DOMAIN, '--name', name]);
      const guest = await Guest.startUnannounced(t, host);
      await mustRun(host, ['domain', 'started', DOMAIN, '--name', name]);
      t.notMatch(await mustRun(host, ['status']), CONTROL);
      t.match(await host.runJson(['status', name]), { domains: [{ uuid: DOMAIN, name }] });

      const reason = `done&host=kvm-b&reason=x\n../../${TERMINAL_ORDER}${'long '.repeat(1000)}`;
      await guest.swtpm.stop();
      await mustRun(host, ['domain', 'stopped', DOMAIN, '--reason', reason]);
      const last = (await site.volume(DOMAIN).entries()).at(-1);
      t.match(last, { kind: 'release', host: 'kvm-a' });
      t.ok(
        last?.kind === 'release' && last.reason.length > 0 && reason.startsWith(last.reason),
        'the reason is cut, not broken',
      );
      t.notMatch(await mustRun(host, ['history', '--all', DOMAIN]), CONTROL);
    },
  );
}

const OTHER = '22222222-3333-4444-8555-666666666666';

/** Of a command: its arguments, where a domain, a state and a directory are called `name`. */
type Call = (name: string, base: string) => readonly string[];

/** Commands that change nothing that another one of them needs, by their words. */
const SIDE_BY_SIDE: Readonly<Record<string, Call>> = {
  status: () => [],
  history: (name) => [name, '--all'],
  verify: (name) => [name],
  doctor: () => [],
  'share init': (name, base) => [join(base, name)],
  'share escrow': (name) => [name],
  'host fenced': (name) => [name],
  capture: (name) => [name],
  restore: (name, base) => [name, '--to', join(base, `restored ${name}`)],
  export: (name, base) => [name, join(base, `${name}.tar.gz`)],
  'snapshot list': (name) => [name],
  'snapshot delete': (name) => [name, name],
  clone: (name) => [name, name],
  undefine: (name) => [name],
  purge: (name) => [name],
  install: (name, base) => ['--root', base, '--share', name, '--dry-run'],
  uninstall: (name, base) => ['--root', join(base, name), '--dry-run'],
  completion: (name) => [name],
};
/** The others, one after the other. */
const IN_TURN: Readonly<Record<string, Call>> = {
  'domain prepare': (name) => [name],
  'domain started': (name) => [DOMAIN, '--name', name],
  'domain stopped': (name) => [DOMAIN, '--reason', name],
  hook: (name) => [name, 'prepare', 'begin', '-'],
  import: (name, base) => [join(base, `${name}.tar.gz`), '--as', OTHER, '--yes'],
  'snapshot create': (name) => [name, 'kept'],
  'snapshot revert': (name) => [name, 'kept'],
  rollback: (name) => [name, '2'],
  resolve: (name) => [name, '--keep', 'head'],
  'take-over': (name) => [name, '--force'],
  rekey: (name) => [name],
  forget: (name) => [name],
  'host separate': (name) => [name],
};
/** Those that print what is stored: as JSON, too. */
const AS_JSON = ['status', 'history', 'snapshot list'];
/** It writes a log, whose records are JSON. */
const ELSEWHERE = ['agent'];

t.test('a hostile name comes to the terminal of no command, and JSON is whole', async (t) => {
  const leaves = (await helpOfAll()).filter(({ commands }) => commands.length === 0);
  const calls = [...Object.entries(SIDE_BY_SIDE), ...Object.entries(IN_TURN)];
  const known = [...calls.map(([words]) => words), ...ELSEWHERE].sort();
  t.strictSame(leaves.map(({ path }) => path.join(' ')).sort(), known, 'each command is tried');

  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  // No separator of paths, so that it can be a file's name, too.
  const name = `vm\n\u202e${TERMINAL_ORDER.replaceAll('/', '')}`;
  await mustRun(host, ['domain', 'prepare', DOMAIN, '--name', name]);
  const guest = await Guest.startUnannounced(t, host);
  await mustRun(host, ['domain', 'started', DOMAIN, '--name', name]);
  await guest.swtpm.stop();
  await mustRun(host, ['domain', 'stopped', DOMAIN, '--reason', name]);
  let shown = 0;
  const input = Buffer.from(`<domain><name>${name}</name></domain>`);
  const tried = async ([words, call]: readonly [string, Call]): Promise<void> => {
    const args = [...words.split(' '), ...call(name, site.base)];
    for (const each of [args, ...(AS_JSON.includes(words) ? [[...args, '--json']] : [])]) {
      const { stdout, stderr } = await host.run(each, { input });
      t.notMatch(stdout + stderr, CONTROL, `${words} ${each.includes('--json') ? '--json' : ''}`);
      if (stdout !== '' && each.includes('--json')) t.ok(JSON.parse(stdout), words);
      if (/vm.{0,8}\[2J/su.test(stdout + stderr)) shown++;
    }
  };
  await Promise.all(Object.entries(SIDE_BY_SIDE).map(tried));
  for (const each of Object.entries(IN_TURN)) await tried(each);
  t.ok(shown > 5, `it was shown ${String(shown)} times, made harmless`);
});

t.test('a name too long to be remembered is refused before anything is done', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  for (const verb of ['prepare', 'started']) {
    const { status, stderr } = await host.run(['domain', verb, DOMAIN, '--name', 'x'.repeat(256)]);
    t.equal(status, 2);
    t.match(
      stderr,
      /^swtpm-mirror: USAGE: cannot use the domain's name: .+ has 256 characters, at most 255 expected\n {2}.+\n$/,
    );
  }
  t.strictSame(await site.volume(DOMAIN).entries(), []);
  await mustRun(host, ['domain', 'prepare', DOMAIN, '--name', '\u0001'.repeat(255)]);
});

/**
 * resolve: the operator chooses where a start was refused, and what was not chosen is kept.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { siteWithHistory, VALUE } from '../../fixtures/refused-start.js';
import { SwtpmProcess } from '../../fixtures/swtpm.js';

interface Resolved {
  readonly kept: string | null;
  readonly diverged: string | null;
}

const history = siteWithHistory(t);

/** A host whose TPM was replaced by a blank one while nobody looked. */
async function hostWithAnotherTpm(t: Test): Promise<Awaited<ReturnType<Awaited<typeof history>['host']>>> {
  const site = await (await history).copy(t);
  const host = await site.host('kvm-a');
  const stateDirectory = host.tpmDirectory(DOMAIN);
  await rm(stateDirectory, { recursive: true });
  const runDirectory = join(site.base, 'another');
  for (const path of [stateDirectory, runDirectory]) await mkdir(path);
  const another = await SwtpmProcess.start({ stateDirectory, runDirectory });
  t.teardown(() => another.kill());
  await another.stop();
  return host;
}

async function resolve(
  host: Awaited<ReturnType<typeof hostWithAnotherTpm>>,
  ...options: string[]
): Promise<Resolved> {
  const stdout = await mustRun(host, ['resolve', DOMAIN, '--json', ...options]);
  return JSON.parse(stdout) as Resolved;
}

t.test(
  "--keep head: the volume's TPM goes on, and the other one is a diverged copy that can be chosen",
  async (t) => {
    const host = await hostWithAnotherTpm(t);
    const kept = await resolve(host, '--keep', 'head');
    t.match(kept, { uuid: DOMAIN, keep: 'head', kept: null, diverged: /^[0-9a-f]{64}$/ });
    const stdout = await mustRun(host, ['history', '--all', '--json', DOMAIN]);
    const entries = JSON.parse(stdout) as { kind: string }[];
    t.ok(
      entries.some(({ kind }) => kind === 'diverged'),
      'nothing is thrown away',
    );
    const guest = await Guest.start(t, host);
    t.strictSame(await guest.read(VALUE.length), VALUE);
    await guest.stop();
    const chosen = await resolve(host, '--keep', 'diverged', '--copy', String(kept.diverged).slice(0, 8));
    t.match(chosen, { keep: 'diverged', before: Number, kept: /^before-resolve-/ });
    const other = await Guest.start(t, host);
    await t.rejects(other.read(VALUE.length), 'the other TPM does not know the value');
    await other.stop();
  },
);

t.test("--keep local: this host's TPM becomes the head, and the head before is a snapshot", async (t) => {
  const host = await hostWithAnotherTpm(t);
  const kept = await resolve(host, '--keep', 'local');
  t.match(kept, { keep: 'local', kept: /^before-resolve-/, diverged: null });
  const guest = await Guest.start(t, host);
  await t.rejects(guest.read(VALUE.length));
  await guest.stop();
  await mustRun(host, ['snapshot', 'revert', DOMAIN, String(kept.kept)]);
});

t.test('a domain that runs is not touched', async (t) => {
  const site = await (await history).copy(t);
  const host = await site.host('kvm-a');
  await Guest.start(t, host);
  const refused = await host.run(['resolve', DOMAIN, '--keep', 'head']);
  t.match(refused, { status: 3, stderr: /DOMAIN_RUNNING|HELD_ELSEWHERE/ });
});

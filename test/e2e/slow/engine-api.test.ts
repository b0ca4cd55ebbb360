/**
 * What an engine asks an agent for: hashes, data when it has not got it, and events instead of polling.
 */
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import t from 'tap';
import { DOMAIN, Guest, mustRun, PERMALL } from '../../fixtures/guest.js';
import type { HostFixture } from '../../fixtures/host.js';
import { libvirtWithoutDaemon } from '../../fixtures/libvirt-without-daemon.js';
import { Site } from '../../fixtures/site.js';
import type { TestScope } from '../../fixtures/temporary-directory.js';
import { digestOf } from '../../fixtures/volume-view.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const PASSWORD = 'hunter2';

interface State {
  readonly digest: string;
  readonly generation: number;
  readonly published: boolean;
  /** Of a dump. */
  readonly xml?: string;
  readonly files?: readonly { readonly name: string; readonly data: string }[];
}

async function ask(host: HostFixture, what: string): Promise<State> {
  const { status, body } = await host.request({ path: `/v1/domains/${DOMAIN}/${what}` });
  if (status !== 200) throw new Error(`${what}: HTTP ${status}: ${body}`);
  return JSON.parse(body) as State;
}

/** Every event so far, from the moment when this resolves. */
async function listen(t: TestScope, host: HostFixture): Promise<Record<string, unknown>[]> {
  const events: Record<string, unknown>[] = [];
  await new Promise<void>((resolve, reject) => {
    const sent = request({ socketPath: host.controlSocket, path: '/v1/events' }, (response) => {
      const lines = createInterface({ input: response });
      // The end of the test cuts the stream off.
      lines.on('error', () => undefined);
      lines.on('line', (line) => {
        if (line === '{"kind":"hello"}') resolve();
        else if (line !== '') events.push(JSON.parse(line) as Record<string, unknown>);
      });
    });
    sent.on('error', reject);
    sent.end();
    t.teardown(() => sent.destroy());
  });
  return events;
}

t.test('an engine follows a domain without polling its data', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  const agent = await host.startAgent(t);
  const events = await listen(t, host);
  const guest = await Guest.start(t, host);
  t.match(events, [{ kind: 'prepared', uuid: DOMAIN, decision: 'start-new' }]);
  await guest.keep(Buffer.from('pulled'));
  await mustRun(host, ['capture', DOMAIN]);

  const permall = await guest.permall();
  const hash = await ask(host, 'hash');
  t.match(hash, { digest: digestOf(permall), published: true });
  const published = await waitUntil('the publish to be told', 20_000, async () =>
    events.find(({ kind, digest }) => kind === 'published' && digest === hash.digest),
  );
  t.match(published, { uuid: DOMAIN, generation: hash.generation, time: /Z$/ });

  const full = await ask(host, 'state');
  t.match(full, { digest: hash.digest, generation: hash.generation, files: [{ name: PERMALL }] });
  t.strictSame(Buffer.from(full.files?.[0]?.data ?? '', 'base64'), permall);
  t.equal((await ask(host, `state?known=${hash.digest}`)).files, undefined, 'known data does not travel');
  t.equal((await ask(host, `state?known=${'0'.repeat(64)}`)).files?.length, 1);

  await guest.stop();
  await waitUntil('the release to be told', 20_000, async () =>
    events.some(({ kind }) => kind === 'released') ? true : undefined,
  );
  const unknown = await host.request({ path: '/v1/domains/11111111-2222-4333-8444-555555555555/hash' });
  t.equal(unknown.status, 404);
  const { status, signal } = await agent.stop();
  t.strictSame([status, signal], [0, null], 'a listener does not hold up the end of the agent');
});

t.test("a domain's XML with its state beside it, only where the caller's state is out of date", async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a', {
    libvirt: {
      uri: await libvirtWithoutDaemon(site.base, { uuid: DOMAIN, name: 'vm-6b0c', password: PASSWORD }),
    },
  });
  const agent = await host.startAgent(t);
  const guest = await Guest.start(t, host);
  await guest.keep(Buffer.from('dumped'));
  await mustRun(host, ['capture', DOMAIN]);
  const permall = await guest.permall();

  const full = await ask(host, 'dump');
  t.match(full, { xml: `<uuid>${DOMAIN}</uuid>`, digest: digestOf(permall), published: true });
  t.strictSame(Buffer.from(full.files?.[0]?.data ?? '', 'base64'), permall);
  const known = await ask(host, `dump?known=${full.digest}`);
  t.strictSame([known.xml, known.digest, known.files], [full.xml, full.digest, undefined]);

  await guest.write(Buffer.from('later!'));
  const later = await ask(host, `dump?known=${full.digest}`);
  t.equal(later.digest, digestOf(await guest.permall()), 'the state as it is now, stored or not');
  t.strictSame(Buffer.from(later.files?.[0]?.data ?? '', 'base64'), await guest.permall());
  t.notMatch(later.xml ?? '', PASSWORD, 'libvirt keeps the secrets of the XML to itself');

  await guest.stop();
  t.match(
    await ask(host, 'dump'),
    { digest: digestOf(await guest.permall()), published: true },
    'when it has stopped',
  );
  await host.configure({ libvirt: { uri: 'test:///nowhere.xml' } });
  await agent.stop();
  await host.startAgent(t);
  await Guest.start(t, host);
  const failed = await host.request({ path: `/v1/domains/${DOMAIN}/dump` });
  t.equal(failed.status, 500);
  t.match(JSON.parse(failed.body), { error: { code: 'LIBVIRT_FAILED', next: /libvirt\.uri/ } });
});

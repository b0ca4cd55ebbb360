/**
 * What an agent really serves, judged by Prometheus' own tool: the format, the alert rules and the dashboard's queries.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import type { HostFixture } from '../../fixtures/host.js';
import { promtool, ruleTest, type Verdict } from '../../fixtures/promtool.js';
import { Site } from '../../fixtures/site.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const MONITORING = fileURLToPath(new URL('../../../src/monitoring', import.meta.url));
const RULES = join(MONITORING, 'alerts.yaml');

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}

async function served(host: HostFixture): Promise<string> {
  const { status, body } = await host.request({ path: '/metrics' });
  t.equal(status, 200);
  return body;
}

async function queriesOfDashboard(): Promise<string[]> {
  const { panels } = JSON.parse(await readFile(join(MONITORING, 'dashboard.json'), 'utf8')) as {
    panels: { targets: { expr: string }[] }[];
  };
  return panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
}

t.test('the metrics of a working agent and of one without its share', async (t) => {
  const port = await freePort();
  const site = await Site.create(t, { metrics: { listen: `127.0.0.1:${port}` } });
  const host = await site.host('kvm-a');
  await host.startAgent(t);
  const first = await served(host);
  const guest = await Guest.start(t, host);
  await guest.keep(Buffer.from('counted'));
  await mustRun(host, ['capture', DOMAIN]);

  const well = await served(host);
  t.match(well, /^swtpm_mirror_share_up 1$/m);
  t.match(well, /^swtpm_mirror_starts_total\{decision="start-new"\} 1$/m);
  t.match(well, /^swtpm_mirror_publishes_total [1-9]/m);
  t.match(well, /^swtpm_mirror_domains\{state="running"\} 1$/m);
  t.match(well, new RegExp(`^swtpm_mirror_domain_lag_seconds\\{uuid="${DOMAIN}",name="vm-6b0c"\\} 0$`, 'm'));
  t.match(well, /_bucket\{le="5",operation="publish",outcome="ok"\} [1-9]/);
  const overTcp = await fetch(`http://127.0.0.1:${port}/metrics`);
  t.match(await overTcp.text(), 'swtpm_mirror_share_up 1');
  t.equal(
    (await fetch(`http://127.0.0.1:${port}/v1/status`)).status,
    404,
    'and nothing else is served there',
  );

  await rename(site.share, `${site.share}.away`);
  await guest.write(Buffer.from('waiting'));
  const away = await waitUntil('the metrics to show it', 30_000, async () => {
    const text = await served(host);
    return /^swtpm_mirror_share_up 0$/m.test(text) && /^swtpm_mirror_spool_entries 1$/m.test(text)
      ? text
      : undefined;
  });
  await rename(`${site.share}.away`, site.share);

  const judge = async (name: string, ...args: Parameters<typeof ruleTest>): Promise<Verdict> => {
    const file = join(site.base, `${name}.json`);
    await writeFile(file, ruleTest(...args));
    return await promtool(['test', 'rules', file]);
  };
  t.match(await promtool(['check', 'metrics'], well), { ok: true });
  t.match(await promtool(['check', 'rules', RULES]), { ok: true });
  const alerts = [
    'SwtpmMirrorShareAway',
    'SwtpmMirrorFenced',
    'SwtpmMirrorAttention',
    'SwtpmMirrorStorageRestarts',
  ];
  t.match(await judge('well', RULES, [first, well], { alerts, queries: [] }), { ok: true }, 'no alert fires');
  const ofAway = await judge('away', RULES, [well, away], { alerts, queries: [] });
  t.match(ofAway, { ok: false, output: /alertname: ?"?SwtpmMirrorShareAway/ }, 'an alert fires');

  const queries = await queriesOfDashboard();
  const found = await judge('dashboard', RULES, [first, well], { alerts: [], queries });
  const { output } = found;
  const empty = queries.filter((query) => !output.includes(query));
  t.strictSame(
    empty.filter((query) => !/attention|start_refusals|part_unread/.test(query)),
    [],
    'every query of the dashboard finds something, but of what did not happen',
  );
});

import { readFile } from 'node:fs/promises';
import t from 'tap';
import { Metrics } from '../../../src/agent/api/metrics.js';
import type { DomainStatus, Status } from '../../../src/agent/api/status.js';
import { parseDomainUuid } from '../../../src/model/identifiers.js';

const UUID = parseDomainUuid('6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d');
const DOMAIN: DomainStatus = {
  uuid: UUID,
  name: 'web-1',
  state: 'running',
  placement: 'mirror',
  epoch: 36,
  headTime: null,
  headAgeMs: null,
  head: 41,
  published: '5fb1c0d3a2b49e87',
  pending: 'spooled',
  pendingChanges: 2,
  behind: 'spooled',
  lagMs: 2500,
  pendingSince: null,
  holder: null,
  takenOver: null,
  parts: [],
  attention: [{ code: 'SHARE_TIMEOUT', message: '', next: '' }],
};
const STATUS: Status = {
  host: 'kvm-a',
  share: { path: '/mnt/tpm', id: '00', state: 'online', latencyMs: 3, beatAgeMs: 1200 },
  domains: [DOMAIN],
  attention: [],
  unprotected: [],
};
const READING = { status: STATUS, spool: { entries: 1, bytes: 1412 }, nowMs: 1_700_000_010_000 };

t.test('what is told, counted and asked for', async (t) => {
  const metrics = new Metrics('1.2.3');
  metrics.started('restore-head');
  metrics.started('start-new');
  metrics.refused('HELD_ELSEWHERE');
  metrics.published();
  metrics.tookOver();
  metrics.fenced();
  metrics.storageProcessEnded();
  metrics.shareAnswered({ operation: 'publish', durationMs: 20, succeeded: true });
  const text = await metrics.render(READING);
  for (const line of [
    'swtpm_mirror_build_info{version="1.2.3"} 1',
    'swtpm_mirror_starts_total{decision="restore-head"} 1',
    'swtpm_mirror_restores_total 1',
    'swtpm_mirror_start_refusals_total{code="HELD_ELSEWHERE"} 1',
    'swtpm_mirror_publishes_total 1',
    'swtpm_mirror_take_overs_total 1',
    'swtpm_mirror_fences_total 1',
    'swtpm_mirror_storage_process_restarts_total 1',
    'swtpm_mirror_share_up 1',
    'swtpm_mirror_heartbeat_age_seconds 1.2',
    'swtpm_mirror_spool_bytes 1412',
    'swtpm_mirror_spool_entries 1',
    'swtpm_mirror_domains{state="running"} 1',
    'swtpm_mirror_domains{state="fenced"} 0',
    `swtpm_mirror_domain_lag_seconds{uuid="${UUID}",name="web-1"} 2.5`,
    `swtpm_mirror_domain_pending_changes{uuid="${UUID}",name="web-1"} 2`,
    `swtpm_mirror_domain_recovery_point_timestamp_seconds{uuid="${UUID}",name="web-1"} 1700000007.5`,
    `swtpm_mirror_attention{uuid="${UUID}",name="web-1",code="SHARE_TIMEOUT"} 1`,
    'swtpm_mirror_share_request_duration_seconds_bucket{le="0.025",operation="publish",outcome="ok"} 1',
    'swtpm_mirror_share_request_duration_seconds_bucket{le="0.01",operation="publish",outcome="ok"} 0',
  ]) {
    t.ok(text.split('\n').includes(line), line);
  }
});

t.test('what has gone is told no longer, and what never was has no recovery point', async (t) => {
  const metrics = new Metrics('1.2.3');
  await metrics.render(READING);
  t.notMatch(await metrics.render({ ...READING, status: { ...STATUS, domains: [] } }), UUID);
  const fresh = { ...STATUS, domains: [{ ...DOMAIN, head: 0 }], share: { ...STATUS.share, beatAgeMs: null } };
  const text = await metrics.render({ ...READING, status: fresh });
  t.notMatch(text, `recovery_point_timestamp_seconds{uuid="${UUID}"`);
  t.match(text, 'swtpm_mirror_heartbeat_age_seconds +Inf');
});

t.test('alert rules and dashboard ask for nothing that is not served', async (t) => {
  const text = await new Metrics('1.2.3').render(READING);
  const served = new Set([...text.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name));
  for (const file of ['alerts.yaml', 'dashboard.json']) {
    const asked = await readFile(new URL(`../../../src/monitoring/${file}`, import.meta.url), 'utf8');
    const names = new Set(
      [...asked.matchAll(/swtpm_mirror_\w+/g)].map(([name]) => name.replace(/_bucket$/, '')),
    );
    t.ok(names.size > 5, file);
    t.strictSame(
      [...names].filter((name) => !served.has(name)),
      [],
      file,
    );
    if (file !== 'dashboard.json') continue;
    t.strictSame(
      [...served].filter((name) => name !== undefined && !names.has(name)),
      [],
      'and it shows all',
    );
  }
});

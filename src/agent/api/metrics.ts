/**
 * metrics: an agent's metrics in Prometheus' text format, by its conventions: base units, `_total` for counters.
 *
 * Counters live for as long as this program; what is a state (lag, holder, spool) is asked for when somebody asks.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ErrorCode } from '../../model/errors.js';
import type { RestoreDecision } from '../../model/restore-plan.js';
import type { Meter } from '../meter.js';
import type { DomainStatus, Status } from './status.js';

export const METRICS_CONTENT_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

/** What is looked up for each reading. */
export interface Reading {
  readonly status: Status;
  readonly spool: { readonly entries: number; readonly bytes: number };
  /** By this host's clock, ms since the epoch. */
  readonly nowMs: number;
}

export interface ShareRequest {
  readonly operation: string;
  readonly durationMs: number;
  readonly succeeded: boolean;
}

const PREFIX = 'swtpm_mirror';
/** From a request that a near server answers at once to one that meets its deadline. */
const LATENCY_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const RESTORES: ReadonlySet<RestoreDecision['kind']> = new Set([
  'restore-head',
  'restore-previous',
  'restore-spooled',
  'restore-carried',
  'keep-diverged-restore-head',
]);
const DOMAIN_STATES: readonly DomainStatus['state'][] = [
  'stopped',
  'prepared',
  'incoming',
  'running',
  'finishing',
  'fenced',
];

export class Metrics implements Meter {
  readonly #registry = new Registry();
  readonly #publishes = this.#counter('publishes_total', 'Generations that became the head of their volume.');
  readonly #restores = this.#counter(
    'restores_total',
    'Starts for which a state from the volume, the spool or the definition was put in place.',
  );
  readonly #fences = this.#counter(
    'fences_total',
    'Volumes lost to another host while their domain was in use here.',
  );
  readonly #takeOvers = this.#counter(
    'take_overs_total',
    'Volumes taken from a host that had not released them.',
  );
  readonly #restarts = this.#counter(
    'storage_process_restarts_total',
    'Storage processes that were killed or failed.',
  );
  readonly #starts = new Counter({
    ...this.#named('starts_total', 'Starts that were let go on, by the decision on their state.'),
    labelNames: ['decision'],
  });
  readonly #refusals = new Counter({
    ...this.#named('start_refusals_total', 'Starts that were refused, by error code.'),
    labelNames: ['code'],
  });
  readonly #requests = new Histogram({
    ...this.#named(
      'share_request_duration_seconds',
      'Time from asking for an operation on the share to its answer.',
    ),
    labelNames: ['operation', 'outcome'],
    buckets: LATENCY_BUCKETS_S,
  });
  readonly #shareUp = this.#gauge('share_up', '1 while the right share answers, 0 otherwise.');
  readonly #heartbeatAge = this.#gauge(
    'heartbeat_age_seconds',
    "Age of this host's last heartbeat on the share.",
  );
  readonly #spoolBytes = this.#gauge('spool_bytes', 'Size of the state in the spool of this host.');
  readonly #spoolEntries = this.#gauge('spool_entries', 'States in the spool of this host.');
  readonly #domains = this.#gauge('domains', 'Domains of this host, by state.', ['state']);
  readonly #lag = this.#gauge(
    'domain_lag_seconds',
    'For how long the share has been behind; 0 when it has everything.',
    ['uuid', 'name'],
  );
  readonly #pendingChanges = this.#gauge(
    'domain_pending_changes',
    'Changes of the domain that the share has not, at least.',
    ['uuid', 'name'],
  );
  readonly #recoveryPoint = this.#gauge(
    'domain_recovery_point_timestamp_seconds',
    'Everything that the domain changed before this time is on the share.',
    ['uuid', 'name'],
  );
  readonly #unreadParts = this.#gauge(
    'domain_part_unread',
    'A part beside the TPM that cannot be stored as it is: state is stale (an earlier reading is) or absent.',
    ['uuid', 'name', 'role', 'state'],
  );
  readonly #attention = this.#gauge(
    'attention',
    'What needs attention; uuid is empty for what concerns the whole host.',
    ['uuid', 'name', 'code'],
  );

  constructor(version: string) {
    this.#gauge('build_info', 'The version that runs.', ['version']).set({ version }, 1);
  }

  started(decision: RestoreDecision['kind']): void {
    this.#starts.inc({ decision });
    if (RESTORES.has(decision)) this.#restores.inc();
  }

  refused(code: ErrorCode): void {
    this.#refusals.inc({ code });
  }

  published(): void {
    this.#publishes.inc();
  }

  fenced(): void {
    this.#fences.inc();
  }

  tookOver(): void {
    this.#takeOvers.inc();
  }

  storageProcessEnded(): void {
    this.#restarts.inc();
  }

  shareAnswered({ operation, durationMs, succeeded }: ShareRequest): void {
    this.#requests.observe({ operation, outcome: succeeded ? 'ok' : 'error' }, durationMs / 1000);
  }

  /** @returns all of them in the text format */
  async render({ status, spool, nowMs }: Reading): Promise<string> {
    const { share, domains, attention } = status;
    this.#shareUp.set(share.state === 'online' ? 1 : 0);
    this.#heartbeatAge.set(share.beatAgeMs === null ? Infinity : share.beatAgeMs / 1000);
    this.#spoolBytes.set(spool.bytes);
    this.#spoolEntries.set(spool.entries);
    for (const gauge of [
      this.#domains,
      this.#lag,
      this.#pendingChanges,
      this.#recoveryPoint,
      this.#unreadParts,
      this.#attention,
    ]) {
      gauge.reset();
    }
    for (const state of DOMAIN_STATES) {
      this.#domains.set({ state }, domains.filter((domain) => domain.state === state).length);
    }
    for (const domain of domains) this.#setDomain(domain, nowMs);
    for (const { code } of attention) this.#attention.set({ uuid: '', name: '', code }, 1);
    return await this.#registry.metrics();
  }

  #setDomain(domain: DomainStatus, nowMs: number): void {
    const { uuid, name, lagMs, pendingChanges, head, attention, parts } = domain;
    for (const { role, state } of parts) {
      if (state !== 'stored') this.#unreadParts.set({ uuid, name, role, state }, 1);
    }
    this.#lag.set({ uuid, name }, lagMs / 1000);
    this.#pendingChanges.set({ uuid, name }, pendingChanges);
    // Without a head there is nothing to recover, whatever the time.
    if (head > 0) this.#recoveryPoint.set({ uuid, name }, (nowMs - lagMs) / 1000);
    for (const { code } of attention) this.#attention.set({ uuid, name, code }, 1);
  }

  #named(name: string, help: string): { name: string; help: string; registers: Registry[] } {
    return { name: `${PREFIX}_${name}`, help, registers: [this.#registry] };
  }

  #counter(name: string, help: string): Counter {
    return new Counter(this.#named(name, help));
  }

  #gauge<Label extends string>(name: string, help: string, labelNames: readonly Label[] = []): Gauge<Label> {
    return new Gauge({ ...this.#named(name, help), labelNames });
  }
}

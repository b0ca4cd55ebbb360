/**
 * command-line: runs a command with the real parts: files, storage process, clock, terminal.
 */
import { hostname, uptime } from 'node:os';
import { join, resolve } from 'node:path';
import { pino } from 'pino';
import type { AgentContext, ChangeSource } from '../agent/agent-context.js';
import { hostStateFiles } from '../agent/state-files.js';
import { readOwnerSources } from '../host/owner.js';
import { DomainFeed } from '../agent/domain-feed.js';
import { placeOf } from '../agent/own-place.js';
import { metered } from '../agent/share/metered-share.js';
import { referring } from '../agent/share/part-references.js';
import { Metrics } from '../agent/api/metrics.js';
import type { Sealing } from '../bundle/sealing.js';
import type { CliEnvironment, LogTarget, OpenContext, OpenShare } from '../cli/environment.js';
import { runProgram } from '../cli/program.js';
import { holdAgentLock, withDomainLock } from '../host/domain-lock.js';
import { DefinitionsFile } from '../host/definitions-file.js';
import { domainPaths } from '../host/domain-paths.js';
import { HookEvidence } from '../host/hook-evidence.js';
import { FileJournal } from '../host/journal.js';
import { libtpmsVersion } from '../host/libtpms-version.js';
import { FileKnownShare } from '../host/known-share.js';
import { orHostError } from '../host/host-error.js';
import { IdentityFile, readInstance } from '../host/identity-file.js';
import { hostAddresses } from '../host/node-environment.js';
import { readMachine } from '../host/machine.js';
import { ensureOwnDirectory } from '../host/node-directories.js';
import { systemClock, systemRandom } from '../host/node-environment.js';
import { keepReserve } from '../host/reserve.js';
import { takesGuestIn } from '../host/node-guest-taken-in.js';
import { RunningQemu } from '../host/node-running-qemu.js';
import { RunningSwtpm } from '../host/node-running-swtpm.js';
import { Spool } from '../host/spool.js';
import { ChokidarStateWatcher } from '../host/watcher.js';
import { RunMetadata } from '../libvirt/run-metadata.js';
import { followDomainEvents } from '../libvirt/virsh-events.js';
import {
  describeDomain,
  listDefinedDomains,
  listInactiveDomains,
  listKnownDomains,
  listRunningGuests,
  type Virsh,
} from '../libvirt/virsh-adapter.js';
import { coalesced } from '../model/coalesce.js';
import { parseConfig, type Config } from '../model/config.js';
import { sleep } from '../model/environment.js';
import type { MirrorError } from '../model/errors.js';
import type { HostFinding, HostId, HostIdentity } from '../model/host-identity.js';
import type { DomainUuid, HostName } from '../model/identifiers.js';
import { NodeFileSystem } from '../storage/node-filesystem.js';
import { nodeFork } from '../storage/node-fork.js';
import { StorageClient } from '../storage/storage-client.js';
import { configuredLimits } from '../storage/storage-limits.js';
import type { StorageEvent } from '../storage/storage-events.js';
import type { StorageParameters } from '../storage/wire.js';
import { tryWriting } from '../storage/write-trial-adapter.js';
import { compressor } from './compressor.js';
import { configPath, readConfigFile } from './config-file.js';
import { openSealing, readSealingKeys } from './sealing-keys.js';
import { boundedServer, CONTROL_LIMITS, listen, listenAt, METRICS_LIMITS } from './listeners.js';
import { systemdManager } from './systemd-notify.js';
import { readInput, terminal } from './terminal.js';
import { uninterrupted } from './uninterrupted.js';

declare const PROGRAM_VERSION: string;

/** The executable, which this part of it lies beside. */
const PROGRAM = join(__dirname, 'swtpm-mirror.cjs');

/** How long another worker on the same domain is waited for; a lock that a killed one left goes stale within it. */
const DOMAIN_LOCK_WAIT_MS = 30_000;
const AGENT_LOCK_WAIT_MS = 15_000;
/** virsh waits for domains that other hooks hold; it is asked again. */
const VIRSH_DEADLINE_MS = 5_000;

const fs = new NodeFileSystem({ mayBeNfs: false });

async function loadConfig(asked: string | undefined): Promise<Config> {
  return parseConfig(readConfigFile(asked), { hostName: hostname(), path: configPath(asked) });
}

/** Of another share than the configured one, such as one that is being made, this host knows nothing. */
async function openShare(config: Config, root = config.share): Promise<OpenShare> {
  const known = new FileKnownShare({ fs, stateDirectory: config.stateDir });
  const shareId = root === config.share ? await known.read() : undefined;
  const { identity: self } = await identityFile(config).peek(await findHost(config), hostAddresses());
  return openShareAs(config, { root, self, keys: await readSealingKeys(fs, config) }, () => shareId);
}

function identityFile({ stateDir }: Config): IdentityFile {
  return new IdentityFile({ fs, random: systemRandom, stateDirectory: stateDir });
}

async function findHost({ host: name, runDir }: Config): Promise<HostFinding> {
  const machine = await readMachine(fs);
  const instance = await readInstance({ fs, random: systemRandom }, runDir, machine.bootId);
  return { name, machine, instance };
}

async function knowHost(
  config: Config,
  isAgent: boolean,
): Promise<Required<Pick<AgentContext, 'identity' | 'names'>>> {
  const file = identityFile(config);
  const addresses = hostAddresses();
  const { identity, news } = await file.keep(await findHost(config), { isAgent, addresses });
  return { identity, names: { news, left: (names) => file.left(names) } };
}

async function peekIdentity(config: Config): Promise<HostIdentity> {
  return (await identityFile(config).peek(await findHost(config), hostAddresses())).identity;
}

async function separateIdentity(config: Config): Promise<{ readonly id: HostId; readonly former: HostName }> {
  const file = identityFile(config);
  const found = await findHost(config);
  const { identity } = await file.peek(found);
  return { id: await file.separate(found), former: identity.formerNames[0] ?? identity.nameBeforeId };
}

async function openSealingOf(config: Config): Promise<Sealing | undefined> {
  const keys = await readSealingKeys(fs, config);
  return keys && openSealing(keys);
}

function openShareAs(
  config: Config,
  parameters: Pick<StorageParameters, 'root' | 'self' | 'keys'>,
  shareId: () => string | undefined,
  agent?: {
    readonly log: AgentContext['log'];
    readonly metrics: Metrics;
  },
): OpenShare & { share: StorageClient } {
  const { storage, timing } = config;
  const share = new StorageClient({
    fork: nodeFork({
      program: PROGRAM,
      parameters: {
        ...parameters,
        uid: storage.uid,
        gid: storage.gid,
        expiryMs: timing.hostExpiryMs,
        generationReadMs: timing.shareDeadlineMs,
        isTimeObserved: storage.heartbeatAge === 'observed',
      },
      shareId,
    }),
    clock: systemClock,
    deadlineMs: timing.shareDeadlineMs,
    limits: configuredLimits(config),
    onEvent: (event) => {
      if (agent) {
        logStorage(agent.log, event);
        meterStorage(agent.metrics, event);
      }
    },
  });
  return { share, close: () => share.close() };
}

async function openContext(config: Config, target: LogTarget): Promise<OpenContext> {
  const { stateDir, runDir, libvirt } = config;
  const keys = await readSealingKeys(fs, config);
  for (const path of [stateDir, runDir]) await orHostError(`make ${path}`, () => ensureOwnDirectory(path));
  const host = await knowHost(config, target === 'stdout');
  const log = openLog(config, target);
  const hostContext = { fs, clock: systemClock, random: systemRandom, stateDirectory: stateDir };
  const knownShare = new FileKnownShare(hostContext);
  // Before the first storage process is started, which is told it.
  await knownShare.read();
  const metrics = new Metrics(PROGRAM_VERSION);
  const place = { root: config.share, self: host.identity, keys };
  const { share, close } = openShareAs(config, place, () => knownShare.known, { log, metrics });
  const journal = new FileJournal(hostContext);
  const spool = new Spool(hostContext, { spoolBytesMax: config.limits.spoolBytesMax });
  const feed = new DomainFeed();
  const virsh = { uri: libvirt.uri, deadlineMs: VIRSH_DEADLINE_MS };
  const context: AgentContext = {
    config,
    ...host,
    bootId: host.identity.bootId,
    bootedAtMs: systemClock.nowMs() - uptime() * 1000,
    share: metered(referring(share), host.identity, metrics),
    snapshots: share,
    libtpms: () => libtpmsVersion(hostContext.fs),
    knownShare,
    journal,
    spool,
    files: hostStateFiles(hostContext, config, share, () => readOwnerSources(hostContext.fs)),
    running: runningOf(libvirt.swtpmDir),
    guests: guestsOf(virsh),
    placeOf: (care) => placeOf({ fs, config, journal }, care),
    definitions: new DefinitionsFile(hostContext),
    hookEvidence: new HookEvidence({ runDirectory: runDir, clock: systemClock }),
    reserve: { keep: () => keepReserve(hostContext) },
    runMetadata: new RunMetadata(virsh, systemClock),
    events: { follow: (onEvent, onEnd) => followDomainEvents(virsh, onEvent, onEnd) },
    locks: {
      withDomain: (uuid, work) =>
        withDomainLock(hostContext, uuid, { purpose: 'swtpm-mirror', waitMs: DOMAIN_LOCK_WAIT_MS }, work),
    },
    clock: systemClock,
    random: systemRandom,
    log,
    meter: metrics,
    feed,
  };
  return {
    context,
    metrics,
    feed,
    administration: share,
    fs,
    forgetDomain: async (uuid) => {
      const entries = (await spool.list()).filter((entry) => entry.uuid === uuid);
      for (const { name } of entries) await spool.remove(uuid, name);
      await journal.remove(uuid);
    },
    changes: (onDirty) => openChanges(config, onDirty, log),
    holdAgentLock: () => lockAgent(runDir),
    uninterrupted,
    close,
  };
}

/** What runs on this host, by its processes. */
function runningOf(swtpmDir: string): AgentContext['running'] {
  const runningSwtpm = new RunningSwtpm(swtpmDir);
  const runningQemu = new RunningQemu();
  return {
    list: coalesced(async () => {
      const found = await runningSwtpm.list();
      await runningQemu.learn(found);
      return found;
    }),
    know: (uuid, directory) => {
      runningSwtpm.know(uuid, directory);
    },
    takesGuestIn,
    strangers: coalesced(() => runningSwtpm.strangers()),
    guest: (uuid) => runningQemu.guest(uuid),
  };
}

async function lockAgent(runDirectory: string): ReturnType<OpenContext['holdAgentLock']> {
  const held = await holdAgentLock(
    { fs, clock: systemClock, runDirectory },
    { purpose: 'agent', waitMs: AGENT_LOCK_WAIT_MS },
  );
  const lost = new Promise<string>((resolve) => {
    held.lost.addEventListener('abort', () => {
      resolve('the lock of this host was lost');
    });
  });
  return { lost, release: () => held.release() };
}

function guestsOf(virsh: Virsh): AgentContext['guests'] {
  return {
    list: () => listRunningGuests(virsh),
    defined: () => listDefinedDomains(virsh),
    inactive: () => listInactiveDomains(virsh),
    known: () => listKnownDomains(virsh),
    describe: (uuid) => describeDomain(virsh, uuid),
  };
}

function openChanges(
  config: Config,
  onDirty: (uuid: DomainUuid) => void,
  log: AgentContext['log'],
): ChangeSource {
  const { swtpmDir } = config.libvirt;
  let trouble: MirrorError | undefined;
  let troubleAtMs = -Infinity;
  // Every rescan tries anew while there is trouble, and fails again as long as it lasts.
  const lastsMs = 2.5 * config.timing.rescanMs;
  const watcher = new ChokidarStateWatcher({
    fs,
    swtpmRoot: swtpmDir,
    onDirty,
    onError: (error) => {
      troubleAtMs = systemClock.monotonicMs();
      trouble = error;
      log.warn({ code: error.code }, error.message);
    },
  });
  return {
    watch: ({ uuid, nvramPath, nvram, tpm }) =>
      watcher.watch(domainPaths(swtpmDir, uuid, nvramPath, nvram, tpm)),
    unwatch: (uuid) => watcher.unwatch(uuid),
    trouble: () => (systemClock.monotonicMs() - troubleAtMs < lastsMs ? trouble : undefined),
    close: () => watcher.close(),
  };
}

/** Written synchronously: the last lines before a kill are the ones that are wanted. */
function openLog({ log, host }: Config, target: LogTarget): AgentContext['log'] {
  const level = target === 'silent' ? 'silent' : log.level;
  return pino(
    { level, base: { host }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 1, sync: true }),
  );
}

/** What befalls the storage processes is news; the requests that they serve are not. */
function logStorage(log: AgentContext['log'], event: StorageEvent): void {
  switch (event.kind) {
    case 'process-killed':
      // Also at the end of an agent, where nobody waits for it any more.
      if (event.unanswered > 0) log.warn(event, 'storage process in trouble');
      else log.debug(event, 'storage');
      break;
    case 'process-stalled':
    case 'process-failed':
      log.warn(event, 'storage process in trouble');
      break;
    default:
      log.debug(event, 'storage');
  }
}

function meterStorage(metrics: Metrics, event: StorageEvent): void {
  if (event.kind === 'request-ended') {
    const { operation, durationMs, outcome } = event;
    metrics.shareAnswered({ operation, durationMs, succeeded: outcome === 'ok' });
  } else if (event.kind === 'process-killed' || event.kind === 'process-failed') {
    metrics.storageProcessEnded();
  }
}

function interrupted(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        resolve(signal);
      });
    }
  });
}

function pause(ms: number): Promise<void> {
  return sleep(systemClock, ms);
}

const environment: Omit<CliEnvironment, 'readInput'> = {
  terminal,
  hookCaller: process.env['SWTPM_MIRROR_CALLER'],
  fs,
  clock: systemClock,
  version: PROGRAM_VERSION,
  program: { node: process.execPath, program: PROGRAM },
  loadConfig,
  configPath: (asked) => resolve(configPath(asked)),
  openContext,
  openShare,
  tryWriting,
  peekIdentity,
  separateIdentity,
  openSealing: openSealingOf,
  server: (kind, handler, said) =>
    boundedServer(kind === 'control' ? CONTROL_LIMITS : METRICS_LIMITS, handler, said),
  listen,
  listenAt,
  serviceManager: systemdManager(process.env, process.pid),
  interrupted,
  compressor,
  pause,
};

/**
 * @param args the words after the program's name
 * @param input reads standard input
 * @returns the exit status
 */
export async function runCommandLine(args: readonly string[], input = readInput): Promise<number> {
  return await runProgram({ ...environment, readInput: input }, args);
}

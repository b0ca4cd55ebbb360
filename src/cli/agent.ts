/**
 * agent: `swtpm-mirror agent`: the daemon, in the foreground.
 *
 *   P1 lock       one agent on this host
 *   P2 listen     the control socket, mode 0600; calls for domains wait for P3
 *   P3 start      share, journal, running domains
 *   P4 ready      whatever started it (systemd) is told, and that it lives from here on
 *   P5 SIGTERM    what is pending goes to the share or the spool; running domains stay held
 */
import type { Server } from 'node:http';
import type { Command } from 'commander';
import { controlApi } from '../agent/api/control-api.js';
import { eventsApi } from '../agent/api/events-api.js';
import { hookApi } from '../agent/api/hook-api.js';
import { guardedMetrics } from '../agent/api/metrics-guard.js';
import { metricsApi } from '../agent/api/metrics-api.js';
import { ServiceReport } from '../agent/api/service-report.js';
import { Supervisor } from '../agent/watch/supervisor.js';
import { orHostError } from '../host/host-error.js';
import { HOOK_NOTE, removeHookNote, writeHookNote } from '../host/hook-note.js';
import type { Config } from '../model/config.js';
import { ownWorkMs } from './control-client.js';
import type { CliEnvironment } from './environment.js';
import { command, type CommonOptions } from './options.js';
import { errorText } from './report-error.js';

const RUN_BYTES = 16;

export function agentCommand(environment: CliEnvironment): Command {
  return command('agent', 'the daemon, in the foreground', 'text').action(async (options: CommonOptions) => {
    const config = await environment.loadConfig(options.config);
    const sealing = await environment.openSealing(config);
    // Here rather than at the first change of a running domain: a key that cannot be used is told to whoever starts the agent.
    const opensItsOwn = (await sealing?.opensItsOwn()) ?? true;
    const { context, fs, changes, metrics, feed, holdAgentLock, close } = await environment.openContext(
      config,
      'stdout',
    );
    const lock = await holdAgentLock();
    const supervisor = new Supervisor(context, changes);
    const service = new ServiceReport(context, environment.serviceManager, () => oneLine(supervisor));
    const interrupted = environment.interrupted();
    const run = context.random.hex(RUN_BYTES);
    const said = (message: string): void => {
      context.log.warn({ code: 'HOST_IO' }, message);
    };
    const server = environment.server(
      'control',
      metricsApi(
        context,
        supervisor,
        metrics,
        eventsApi(
          context.clock,
          feed,
          hookApi({ ...context, fs }, supervisor, { run, errorText }, controlApi(context, supervisor, fs)),
        ),
      ),
      said,
    );
    const names = [
      config.host,
      ...(config.metrics.listen ? [config.metrics.listen.host] : []),
      ...config.metrics.names,
    ];
    const guarded = guardedMetrics(metricsApi(context, supervisor, metrics), { clock: context.clock, names });
    const metricsServer = environment.server('metrics', guarded, said);
    try {
      await leaveHookNote(environment, config, run, options.config);
      await environment.listen(server, `${config.runDir}/control.sock`);
      if (config.metrics.listen) await environment.listenAt(metricsServer, config.metrics.listen);
      if (sealing?.recipientSet !== undefined && !opensItsOwn) {
        context.log.warn(
          { code: 'KEY_MISSING' },
          'this host has no key for what it writes: it restores nothing',
        );
      }
      await supervisor.start();
      context.log.info({ version: environment.version }, 'agent ready');
      await service.ready();
      const why = await Promise.race([interrupted, lock.lost]);
      context.log.info({ why }, 'agent ends');
    } finally {
      await removeHookNote(fs, config.runDir);
      await service.ending();
      server.closeIdleConnections();
      await supervisor.close();
      await closed(server);
      await closed(metricsServer);
      await lock.release();
      await close();
    }
  });
}

/** What the hook of this configuration needs to ask this agent by itself. */
async function leaveHookNote(
  { configPath }: CliEnvironment,
  { runDir, timing }: Config,
  run: string,
  asked: string | undefined,
): Promise<void> {
  const note = { run, patienceMs: ownWorkMs(timing), configPath: configPath(asked) };
  await orHostError(`write ${runDir}/${HOOK_NOTE}`, () => writeHookNote(runDir, note));
}

/** As `systemctl status` shows it. */
function oneLine(supervisor: Supervisor): string {
  const running = supervisor.replicators().filter(({ state }) => state.run === 'running').length;
  const domains = running === 1 ? '1 domain runs' : `${running} domains run`;
  return `${domains} here, share ${supervisor.health().state}`;
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
    server.closeAllConnections();
  });
}

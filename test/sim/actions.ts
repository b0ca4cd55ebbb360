/**
 * actions: one step of a schedule, done to the site. What makes no sense now is passed over.
 */
import type { AgentHost } from './agent-host.js';
import { migrate } from './migration.js';
import { resolveByHand } from './operator.js';
import type { Action } from './schedule.js';
import { placeState } from './second-writer.js';
import type { Domain, Site } from './site.js';

export function act(site: Site, action: Action): void {
  switch (action.do) {
    case 'wait':
      return;
    case 'quiet':
      site.restMs = undefined;
      return;
    case 'separate':
      site.separate();
      return;
    case 'crash-server':
      site.crashServer(action.downMs, action.graceMs);
      return;
    case 'fill-share':
      during(site, 'share full', action.ms, (isFull) => {
        site.fillShare(isFull);
      });
      return;
    default: {
      const host = site.hosts[action.host];
      if (host) actOnHost(site, host, action);
    }
  }
}

type HostAction = Exclude<Action, { do: 'wait' | 'quiet' | 'separate' | 'crash-server' | 'fill-share' }>;

function actOnHost(site: Site, host: AgentHost, action: HostAction): void {
  if ('domain' in action) {
    const domain = site.domains[action.domain];
    if (domain) actOnDomain(site, host, domain, action);
    return;
  }
  switch (action.do) {
    case 'kill-agent':
      if (host.agent) site.coverage.count('fault: agent killed');
      host.killAgent();
      break;
    case 'stop-agent':
      host.stopAgent();
      break;
    case 'start-agent':
      host.startAgent();
      break;
    case 'install-swtpm':
      site.coverage.count(`swtpm installed: ${action.version}`);
      host.swtpm = action.version;
      break;
    case 'rename':
      site.coverage.count('host renamed');
      host.rename(action.to);
      break;
    case 'clone':
      site.clone(host);
      break;
    case 'future-beat':
      site.setBeatAhead(host, action.ms);
      break;
    case 'pause':
      site.coverage.count('fault: pause');
      host.pause(action.ms);
      break;
    case 'power-loss':
      site.powerLoss(host, action.downMs);
      break;
    case 'partition':
      site.partition(host.name, action.ms);
      break;
    case 'lose-events':
      during(site, 'events lost', action.ms, (isLost) => {
        host.events.lost = isLost;
      });
      break;
    case 'fill-disk':
      during(site, 'disk full', action.ms, (isFull) => {
        host.fill(isFull);
      });
      break;
    case 'blind':
      during(site, 'state unreadable', action.ms, (isBlind) => {
        host.blind(isBlind);
      });
      break;
    case 'arm':
      host.arms.add(action.arm);
      break;
  }
}

type DomainAction = Extract<Action, { domain: number }>;

function actOnDomain(site: Site, host: AgentHost, domain: Domain, action: DomainAction): void {
  const { hypervisor, agent } = host;
  if (!hypervisor) return;
  const { uuid } = domain;
  switch (action.do) {
    case 'start':
      begun(site, host, action.pastHook ? 'start past the hook' : 'start', hypervisor.start(domain, action));
      break;
    case 'stop':
      begun(site, host, 'stop', hypervisor.stop(domain));
      break;
    case 'crash':
      begun(site, host, 'guest crash', hypervisor.crash(domain, action.noticed));
      break;
    case 'lose-tpm':
      begun(site, host, 'swtpm dies alone', hypervisor.loseTpm(domain));
      break;
    case 'write':
      void hypervisor.guest(uuid)?.write(action.times);
      break;
    case 'capture':
      if (agent) begun(site, host, 'capture', agent.supervisor.captureNow(uuid));
      break;
    case 'delete-directory':
      begun(
        site,
        host,
        'directory deleted',
        hypervisor.job(domain, async () => {
          const state = host.local.state(uuid);
          if (state) site.oracle.deletedByHand(state);
          await hypervisor.deleteDirectory(domain);
          return true;
        }),
      );
      break;
    case 'place':
      begun(site, host, 'state placed', placeState(site, host, domain, action));
      break;
    case 'resolve':
      begun(site, host, `resolve, ${action.keep}`, resolveByHand(site, host, domain, action.keep));
      break;
    case 'save':
      begun(site, host, 'saved to a file', hypervisor.save(domain));
      break;
    case 'restore-saved':
      begun(site, host, 'restore of a save file', hypervisor.restoreSaved(domain));
      break;
    case 'take-over':
      begun(site, host, action.force ? 'forced take-over' : 'take-over', host.takeOver(uuid, action.force));
      break;
    case 'announce':
      site.coverage.count('migration announced, and none follows');
      hypervisor.announce(uuid);
      break;
    case 'migrate': {
      const target = site.hosts[action.to];
      if (target) begun(site, host, 'migration', migrate(site, domain, [host, target], action));
      break;
    }
  }
}

/** Follows what was begun; a failure that nobody expected ends the schedule. */
function begun(site: Site, host: AgentHost, what: string, job: Promise<unknown> | undefined): void {
  if (!job) return;
  site.coverage.count(`begun: ${what}`);
  job.then(
    (result) => {
      if (result !== false) site.coverage.count(`done: ${what}`);
    },
    (error: unknown) => {
      site.told(host.name, what, error);
    },
  );
}

function during(site: Site, what: string, ms: number, set: (isOn: boolean) => void): void {
  site.coverage.count(`fault: ${what}`);
  set(true);
  site.world.clock.after(ms, () => {
    set(false);
  });
}

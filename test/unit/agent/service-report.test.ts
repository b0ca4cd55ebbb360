import t from 'tap';
import { ServiceReport, type ServiceManager } from '../../../src/agent/api/service-report.js';
import { systemdManager } from '../../../src/wiring/systemd-notify.js';
import { ManualClock } from '../../fakes/manual-clock.js';

const silent = (): void => undefined;
const log = { debug: silent, info: silent, warn: silent, error: silent };

interface Rig {
  readonly clock: ManualClock;
  readonly report: ServiceReport;
  readonly told: string[];
}

function makeRig(watchdogMs: number | undefined, failure?: Error): Rig {
  const clock = new ManualClock();
  const told: string[] = [];
  const manager: ServiceManager = {
    watchdogMs,
    tell: async (variables) => {
      told.push(variables.join(' '));
      if (failure) throw failure;
    },
  };
  return { clock, told, report: new ServiceReport({ clock, log }, manager, () => 'fine') };
}

t.test('ready first, then three signs of life in the time for one, and none while it ends', async (t) => {
  const { report, clock, told } = makeRig(120_000);
  await clock.advance(600_000);
  t.strictSame(told, [], 'nothing before it serves');
  await report.ready();
  await clock.advance(119_000);
  t.strictSame(told, ['READY=1 STATUS=fine', 'WATCHDOG=1 STATUS=fine', 'WATCHDOG=1 STATUS=fine']);
  await clock.advance(2_000);
  t.equal(told.length, 4);
  await report.ending();
  t.match(told.at(-1), /^STOPPING=1 /);
  await clock.advance(600_000);
  t.equal(told.length, 5);
  t.equal(clock.pending, 0);
});

t.test('one that cannot be told is told again', async (t) => {
  const { report, clock, told } = makeRig(120_000, new Error('no such program'));
  await report.ready();
  await clock.advance(81_000);
  t.equal(told.length, 3);
});

t.test('without a watchdog it says when it is ready and when it ends', async (t) => {
  const { report, clock, told } = makeRig(undefined);
  await report.ready();
  await clock.advance(600_000);
  await report.ending();
  t.strictSame(told.length, 2);
});

t.test('systemd says what it wants in the environment', async (t) => {
  const NOTIFY_SOCKET = '/run/systemd/notify';
  t.equal(systemdManager({}, 1), undefined);
  t.equal(systemdManager({ NOTIFY_SOCKET }, 1)?.watchdogMs, undefined);
  const watched = { NOTIFY_SOCKET, WATCHDOG_USEC: '120000000', WATCHDOG_PID: '7' };
  t.equal(systemdManager(watched, 7)?.watchdogMs, 120_000);
  t.equal(systemdManager(watched, 8)?.watchdogMs, undefined, "meant for this process's parent");
});

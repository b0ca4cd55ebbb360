/**
 * direct: TPMs that work on the share itself (`placement = "direct"`). The control has one directory on the share for whichever host runs the VM.
 */
import {
  beginOn,
  comeBack,
  expectFenced,
  expectHead,
  expectWhole,
  goOn,
  requestsEnded,
  restPublished,
  stopVm,
  takeOver,
} from '../acts.js';
import type { Bench, BenchOptions } from '../bench.js';
import type { Host } from '../machines/host.js';
import type { Scenario } from '../scenario.js';

const FIRST_PUBLISHES = 2;
/** Longer than the server keeps the lock that swtpm takes on its directory for a client that is cut off. */
const DIRECT: BenchOptions = {
  placement: 'direct',
  timing: { heartbeatMs: 1000, expiryMs: 15_000, shareDeadlineMs: 20_000 },
};

/** The VM's first run is on its host's own disk; from the second on its TPM works on the share. */
async function beginOnShare(bench: Bench, host: Host): Promise<void> {
  await beginOn(bench, host);
  await restPublished(bench, host);
  await stopVm(bench, host);
  await takeOver(bench, host, host);
  const { stdout } = await host.machine.shell.try(`readlink ${stateOf(bench)}`);
  const onShare = stdout.startsWith(bench.place.share);
  bench.verdict.check('the TPM works on the share', onShare, stdout.trim() || 'no link');
  await bench.write(host);
  await bench.acknowledged(host, FIRST_PUBLISHES);
}

function stateOf({ place }: Bench): string {
  return `${place.swtpmDirectory}/${place.uuid}/tpm2`;
}

async function powerCut(bench: Bench): Promise<void> {
  const { hostA, hostB } = bench;
  await beginOnShare(bench, hostA);
  await hostA.powerCut();
  await takeOver(bench, hostB, hostA);
  const value = await goOn(bench, hostB);
  await comeBack(bench, hostA);
  await expectHead(bench, hostB, value, 'G3: the host that came back changes nothing');
  await restart(bench, hostB, value);
  await expectWhole(bench);
}

/** The TPM of the host that was cut off goes on writing, to the same server, when the network is back. */
async function fencedTpm(bench: Bench): Promise<void> {
  const { hostA, hostB } = bench;
  await beginOnShare(bench, hostA);
  hostA.cable.cut();
  await takeOver(bench, hostB, hostA);
  const value = await goOn(bench, hostB);
  hostA.cable.heal();
  // Its directory goes as soon as the new holder has swept it: then its TPM can no longer write, and says so.
  await bench.rest(hostA).catch(() => undefined);
  await requestsEnded(bench, hostA);
  await expectHead(bench, hostB, value, 'G3: the TPM of the host that was cut off changes nothing');
  await expectFenced(bench, hostA);
  await stopVm(bench, hostA);
  await restart(bench, hostB, value);
  await goOn(bench, hostB);
  await expectWhole(bench);
}

/** What a host's TPM wrote while nobody mirrored it lies on the share when the host dies: it is no truth, and it is kept. */
async function unpublished(bench: Bench): Promise<void> {
  const { hostA, hostB, ledger, verdict } = bench;
  await beginOnShare(bench, hostA);
  await bench.mirror.killService(hostA);
  const acknowledged = ledger.acknowledgedOn(hostA);
  await bench.until(`${hostA.name} to write more`, () =>
    Promise.resolve(ledger.writtenOn(hostA) > acknowledged + 1),
  );
  const lost = await bench.rest(hostA);
  await hostA.machine.shell.run('sync');
  await hostA.powerCut();
  await takeOver(bench, hostB, hostA);
  const value = await goOn(bench, hostB);
  const diverged = async (): Promise<(number | undefined)[]> =>
    (await bench.mirror.diverged(hostB)).map((digest) => ledger.valueOf(digest));
  const kept = await bench.eventually(async () => (await diverged()).includes(lost));
  const seen = `${lost} among ${(await diverged()).join(', ')}`;
  verdict.check('G5: what was written and never published is kept as a diverged copy', kept, seen);
  await restart(bench, hostB, value);
  await expectWhole(bench);
  await bench.cluster.powerOnHost(hostA);
}

/** The VM stops and starts again on its host, and its TPM has its own last value. */
async function restart(bench: Bench, host: Host, value: number): Promise<void> {
  await stopVm(bench, host);
  await bench.startVm(host);
  const found = await bench.read(host);
  bench.verdict.check(
    'G4: started again, the VM has its own last value',
    found === value,
    `${value}, then ${found ?? 'a blank TPM'}`,
  );
}

export const directPlacement: readonly Scenario[] = [
  {
    name: 'direct-power-cut',
    title: 'a host loses its power while a TPM works on the share; the other takes over; the host comes back',
    options: DIRECT,
    play: powerCut,
  },
  {
    name: 'direct-fenced',
    title:
      'a host is cut off while a TPM works on the share; the other takes over; the TPM of the first goes on writing',
    control: true,
    options: DIRECT,
    play: fencedTpm,
  },
  {
    name: 'direct-unpublished',
    title: 'a TPM works on the share with no agent to mirror it, then its host loses its power',
    options: DIRECT,
    play: unpublished,
  },
];

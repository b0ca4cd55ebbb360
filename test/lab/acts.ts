/**
 * acts: what scenarios are made of: steps in the life of a VM, each with what must hold after it.
 */
import { WAIT_MS, type Bench } from './bench.js';
import type { Fate } from './machines/cable.js';
import { MOUNT_POINT, type Host } from './machines/host.js';

const FIRST_PUBLISHES = 2;
/** 2049, as the kernel lists it. */
const NFS_PORT = '0801';

/** Everything is set up; the VM runs on `host` for the first time, and keeps writing. */
export async function beginOn(bench: Bench, host: Host): Promise<void> {
  await bench.open();
  const { granted, because } = await bench.startVm(host);
  if (!granted) throw new Error(`the first start of the VM was refused: ${because}`);
  await bench.define(host);
  await bench.write(host);
  await bench.acknowledged(host, FIRST_PUBLISHES);
}

/** The VM starts on `host`, and its TPM has what `from` had acknowledged (G4), and nothing that was never written (G1). */
export async function takeOver(bench: Bench, host: Host, from: Host): Promise<void> {
  const { granted, because } = await bench.prepare(host);
  if (!granted) throw new Error(`the VM's start on ${host.name} was refused: ${because}`);
  await runPrepared(bench, host, from);
}

/** The same for a start that has been granted already. */
export async function runPrepared(bench: Bench, host: Host, from: Host): Promise<void> {
  const { ledger, verdict } = bench;
  await bench.runVm(host);
  const value = await bench.read(host);
  const acknowledged = ledger.acknowledgedOn(from);
  const begun = ledger.begunOn(from);
  const seen = `${from.name} had ${acknowledged} acknowledged and ${begun} begun; ${host.name} reads ${value ?? 'a blank TPM'}`;
  verdict.check('G4: the new holder has everything acknowledged', (value ?? -1) >= acknowledged, seen);
  const written = value !== undefined && value <= begun;
  verdict.check('G1: the new holder has a state that was written', written, seen);
}

/** The VM writes on `host`, publishes, and rests. @returns the value in the head */
export async function goOn(bench: Bench, host: Host): Promise<number> {
  await bench.write(host);
  await bench.acknowledged(host, FIRST_PUBLISHES);
  return await restPublished(bench, host);
}

/** Stops writing, and waits until the share has the last value. */
export async function restPublished(bench: Bench, host: Host): Promise<number> {
  const value = await bench.rest(host);
  await bench.acknowledgedValue(host, value);
  return value;
}

/** The VM ends in good order. */
export async function stopVm(bench: Bench, host: Host): Promise<void> {
  await bench.killVm(host);
  await bench.mirror.stopped(host);
}

/** A host that has lost its power comes back, with its disk as it was and whatever lies there. */
export async function comeBack(bench: Bench, host: Host): Promise<void> {
  await powerUp(bench, host);
  await settled(bench, host);
}

/** The host is on again, and its service serves. */
export async function powerUp(bench: Bench, host: Host): Promise<void> {
  await bench.cluster.powerOnHost(host);
  await host.mount(bench.mount);
  await bench.mirror.startService(host);
}

/** Resolves when nothing on a host waits for the share any more: it is there, or it never will be. */
export async function settled(bench: Bench, host: Host): Promise<void> {
  await bench.until(`${host.name} to have settled`, async () => {
    const safety = await bench.mirror.safety(host);
    return safety === 'fenced' || safety === 'published';
  });
}

/** Resolves in the moment in which a commit of `host` is on the wire; `act` is done at once. */
export async function catchCommit(bench: Bench, host: Host, fate: Fate, act: () => void): Promise<void> {
  await catchRequest(host, (frame) => bench.mirror.isCommit(frame), fate, act);
}

/** The same for the first frame of `host` that `isPrey`. */
export async function catchRequest(
  host: Host,
  isPrey: (frame: Buffer) => boolean,
  fate: Fate,
  act: () => void,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`expected a certain request of ${host.name} on the wire within ${WAIT_MS} ms`));
    }, WAIT_MS);
    host.cable.layTrap({
      from: 'host',
      fate,
      isPrey,
      onCaught: () => {
        act();
        resolve();
      },
    });
  }).finally(() => {
    clearTimeout(timer);
  });
}

/** What a host has sent to the server and was not told to have arrived: bytes in the queues of its connections. */
export async function bytesUnderWay(host: Host): Promise<number> {
  const output = await host.machine.shell.run(`
    sum=0
    while read -r _ _ remote _ queues _; do
      [[ $remote != *:${NFS_PORT} ]] || ((sum += 16#\${queues%:*})) || true
    done </proc/net/tcp
    echo $sum
  `);
  return Number(output);
}

/** Resolves when nothing that a host's kernel has asked of the server is still under way: what it asks now is answered after that. */
export async function requestsEnded(bench: Bench, host: Host): Promise<void> {
  await host.machine.shell.try(
    `until stat --file-system ${MOUNT_POINT} >/dev/null 2>&1; do sleep 0.2; done`,
    WAIT_MS,
  );
  await bench.until(
    `what ${host.name} has sent to have arrived`,
    async () => (await bytesUnderWay(host)) === 0,
  );
}

/** The host finds out that it has lost the volume, whether or not it has anything to publish. */
export async function expectFenced(bench: Bench, host: Host): Promise<void> {
  const { mirror, verdict } = bench;
  const knows = await bench.eventually(async () => (await mirror.safety(host)) === 'fenced');
  verdict.check('G3: a host that was cut off learns that it is fenced', knows, await mirror.safety(host));
}

/** The head, as `reader` sees it, has the value that was published last. */
export async function expectHead(bench: Bench, reader: Host, value: number, name: string): Promise<void> {
  const head = await bench.headValue(reader);
  const seen = `the head has ${head ?? 'no known value'}, ${value} was published last`;
  bench.verdict.check(name, head === value, seen);
}

/** What every scenario ends with. */
export async function expectWhole({ mirror, cluster, verdict }: Bench): Promise<void> {
  const wrong = await mirror.verify(cluster.server);
  verdict.check('G1: every generation reads back whole', wrong === '', wrong || 'verify --all found nothing');
}

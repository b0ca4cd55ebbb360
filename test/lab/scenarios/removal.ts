/**
 * removal: what is meant to go, goes for good, and nothing else does: purge and pruning.
 */
import {
  beginOn,
  catchCommit,
  catchRequest,
  expectWhole,
  goOn,
  powerUp,
  requestsEnded,
  restPublished,
  settled,
  stopVm,
  takeOver,
} from '../acts.js';
import type { Bench } from '../bench.js';
import { ProductMirror } from '../product-mirror.js';
import type { Scenario } from '../scenario.js';

/** The volume of another VM on the same share. */
const NEIGHBOUR = '0d9f3a51-22c4-4e6b-8a77-5c1e2f3a4b5c';
const SNAPSHOT = 'before-update';
const GENERATIONS = 2;
/** NFSv4's REMOVE (28) with the length of the name that goes, but for its last byte. */
const REMOVE = '\0\0\0\u001c\0\0\0';

interface Step {
  readonly name: string;
  /** Whether a frame of the host that purges carries its request. */
  readonly isReached: (frame: string) => boolean;
}

function stepsOfPurge({ place }: Bench): readonly Step[] {
  return [
    { name: 'its claim', isReached: (frame) => frame.includes('reason=purge') },
    { name: 'its rename', isReached: (frame) => frame.includes(`${place.uuid}-`) },
    { name: 'the first generation', isReached: (frame) => removes(frame, /^[\w.-]+\.tar\.gz/) },
    { name: 'the bottom of the log', isReached: (frame) => removes(frame, /^\d{8}(?![\w.-])/) },
  ];
}

function removes(frame: string, name: RegExp): boolean {
  return frame
    .split(REMOVE)
    .slice(1)
    .some((rest) => name.test(rest.slice(1)));
}

/** The host that purges loses its power at one of its steps after the other; each time the next purge ends the work. */
async function interruptedPurge(bench: Bench): Promise<void> {
  const { hostA, hostB, verdict, mirror, cluster, place } = bench;
  const { shell } = cluster.server.machine;
  await beginOn(bench, hostA);
  const value = await restPublished(bench, hostA);
  await stopVm(bench, hostA);
  const volumes = `${place.shareOnServer}/volumes`;
  const kept = `${place.shareOnServer}.kept`;
  await shell.run(`cp -a ${volumes}/${place.uuid} ${kept}; cp -a ${kept} ${volumes}/${NEIGHBOUR}; sync`);
  for (const { name, isReached } of stepsOfPurge(bench)) {
    void mirror.purge(hostB).catch(() => undefined);
    await catchRequest(
      hostB,
      (frame) => isReached(frame.toString('latin1')),
      'delivered',
      () => {
        hostB.cable.cut();
      },
    );
    await hostB.powerCut();
    hostB.cable.heal();
    await powerUp(bench, hostB);
    const isThere = (await mirror.remains(cluster.server)).includes(`${volumes}/${place.uuid}/`);
    const head = isThere ? await bench.headValue(hostB) : undefined;
    const seen = isThere ? `the head has ${head ?? 'no known value'}` : 'gone';
    verdict.check(`G7: power lost at ${name}: the volume is whole or gone`, !isThere || head === value, seen);
    const { granted, because } = await mirror.purge(hostB);
    const left = await mirror.remains(cluster.server);
    const isEnded = left === '' && (granted || because.includes('NO_SUCH_DOMAIN'));
    verdict.check(`G7: power lost at ${name}: the next purge ends it`, isEnded, left || because || 'purged');
    await shell.run(`cp -a ${kept} ${volumes}/${place.uuid}; sync`);
    // What it knows of the names in there may be half a minute old.
    await hostB.machine.shell.run('echo 2 >/proc/sys/vm/drop_caches');
  }
  const { stdout } = await shell.try(`diff -r --no-dereference ${kept} ${volumes}/${NEIGHBOUR}`);
  verdict.check('G7: the volume beside it is as it was', stdout === '', stdout.trim() || 'no difference');
  await shell.run(`rm -rf ${kept} ${volumes}/${NEIGHBOUR}`);
  await expectWhole(bench);
}

/** Refused while the publishing host is alive. Once that one counts as dead, the volume goes, and what arrives late does not bring it back. */
async function purgedUnderPublisher(bench: Bench): Promise<void> {
  const { hostA, hostB, verdict, mirror, cluster } = bench;
  await beginOn(bench, hostA);
  const early = await mirror.purge(hostB);
  verdict.check('G7: the volume of a living host is not purged', !early.granted, early.because);
  await bench.acknowledged(hostA, 1);
  await catchCommit(bench, hostA, 'lost', () => {
    hostA.cable.cut();
  });
  await bench.until('the volume to be purged', async () => (await mirror.purge(hostB)).granted);
  hostA.cable.heal();
  const lost = await bench.rest(hostA);
  await requestsEnded(bench, hostA);
  await settled(bench, hostA);
  const left = await mirror.remains(cluster.server);
  verdict.check('G7: what was purged does not come back', left === '', left || 'nothing is left');
  const safety = await mirror.safety(hostA);
  verdict.check('G3: the host that goes on knows that it is fenced', safety === 'fenced', safety);
  const diverged = async (): Promise<(number | undefined)[]> =>
    (await mirror.diverged(hostB)).map((digest) => bench.ledger.valueOf(digest));
  const kept = await bench.eventually(async () => (await diverged()).includes(lost));
  verdict.check('G5: what it wrote is kept as a diverged copy', kept, `value ${lost}`);
}

/** Generations are pruned while hosts lose their power; the one that has a name stays, and becomes the head again. */
async function snapshotOutlivesPruning(bench: Bench): Promise<void> {
  const { hostA, hostB, verdict, mirror, place } = bench;
  if (!(mirror instanceof ProductMirror)) throw new Error('the plain publisher has no snapshots');
  await beginOn(bench, hostA);
  const value = await restPublished(bench, hostA);
  const slot = (await mirror.log(hostA)).head?.slot ?? 0;
  await mirror.command(hostA, `snapshot create ${place.uuid} ${SNAPSHOT}`);
  await bench.write(hostA);
  await bench.until('the generation of the snapshot to be pruned', async () => {
    const { entries } = await mirror.log(hostA);
    return (entries[0]?.slot ?? 0) > slot;
  });
  await hostA.powerCut();
  await takeOver(bench, hostB, hostA);
  await goOn(bench, hostB);
  await stopVm(bench, hostB);
  await mirror.command(hostB, `snapshot revert ${place.uuid} ${SNAPSHOT}`);
  const { granted, because } = await bench.startVm(hostB);
  const found = granted ? await bench.read(hostB) : undefined;
  const seen = `${value} in the snapshot, ${found ?? because} in the TPM`;
  verdict.check('G4: a snapshot has its state, whatever was pruned', found === value, seen);
  await expectWhole(bench);
  await bench.cluster.powerOnHost(hostA);
}

export const removals: readonly Scenario[] = [
  {
    name: 'purge-power-cuts',
    title: 'the host that purges a volume loses its power, at four of its steps in turn',
    play: interruptedPurge,
  },
  {
    name: 'purge-publisher',
    title: 'a volume is purged while its holder, cut off, has a commit on the wire, and goes on',
    control: true,
    play: purgedUnderPublisher,
  },
  {
    name: 'snapshot',
    title:
      'the generation of a snapshot is pruned, hosts lose their power, and the snapshot becomes the head again',
    options: { generations: GENERATIONS },
    play: snapshotOutlivesPruning,
  },
];

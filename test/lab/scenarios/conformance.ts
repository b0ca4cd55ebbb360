/**
 * conformance: the suites that every file system and every store of the product must pass, run in a guest on the kernel's NFS.
 */
import type { Bench } from '../bench.js';
import { MOUNT_POINT, USUAL_MOUNT, type MountKind } from '../machines/host.js';
import type { Scenario } from '../scenario.js';

const SUITES = ['node-filesystem', 'local-share-store'];
const TIMEOUT_MS = 400_000;

async function play({ cluster, hostA, mount, verdict }: Bench): Promise<void> {
  await hostA.mount(mount);
  for (const suite of SUITES) {
    const run = `TMPDIR=${MOUNT_POINT} TAP_TIMEOUT=${TIMEOUT_MS / 1000} node ${cluster.program}/${suite}.test.mjs`;
    const { status, stdout, stderr } = await hostA.machine.shell.try(run, TIMEOUT_MS);
    const passed = stdout.match(/^ *ok /gm)?.length ?? 0;
    const failed = stdout.match(/^ *not ok .*/gm)?.map((line) => line.trim()) ?? [];
    const seen = status === 0 ? `${passed} passed` : failed.join('; ') || stderr.trim();
    verdict.check(`${suite} conforms on NFSv${mount.version}`, status === 0 && passed > 0, seen);
  }
}

function conformanceOn(version: MountKind['version']): Scenario {
  return {
    name: `conformance-v${version}`,
    title: `the product's file system and its store pass their conformance suites on NFSv${version}`,
    options: { mount: { ...USUAL_MOUNT, version } },
    play,
  };
}

export const conformance: readonly Scenario[] = [conformanceOn('4.2'), conformanceOn('3')];

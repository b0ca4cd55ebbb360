/**
 * conformance: the suites that every file system and every store of the product must pass, run in a guest on the kernel's NFS.
 */
import type { Bench } from '../bench.js';
import { MOUNT_POINT, USUAL_MOUNT, type Host, type MountKind } from '../machines/host.js';
import type { Scenario } from '../scenario.js';

const TIMEOUT_MS = 400_000;

/** Side by side, each on a host of its own. */
async function play(bench: Bench): Promise<void> {
  await Promise.all([
    conforms(bench, bench.hostA, 'local-share-store'),
    conforms(bench, bench.hostB, 'node-filesystem'),
  ]);
}

async function conforms({ cluster, mount, verdict }: Bench, host: Host, suite: string): Promise<void> {
  await host.mount(mount);
  const run = `TMPDIR=${MOUNT_POINT} TAP_TIMEOUT=${TIMEOUT_MS / 1000} node ${cluster.program}/${suite}.test.mjs`;
  const { status, stdout, stderr } = await host.machine.shell.try(run, TIMEOUT_MS);
  const passed = stdout.match(/^ *ok /gm)?.length ?? 0;
  const failed = stdout.match(/^ *not ok .*/gm)?.map((line) => line.trim()) ?? [];
  const seen = status === 0 ? `${passed} passed` : failed.join('; ') || stderr.trim();
  verdict.check(`${suite} conforms on NFSv${mount.version}`, status === 0 && passed > 0, seen);
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

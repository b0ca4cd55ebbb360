/**
 * An agent whose host has no inotify watches, or instances, left: it says so with what that costs, and misses no change.
 */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { Guest } from '../../fixtures/guest.js';
import { runCommand } from '../../fixtures/process.js';
import { Site } from '../../fixtures/site.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const PATIENCE_MS = 60_000;

/** In a user namespace of its own, whose limits are nobody else's. */
function withLimit(name: string, value: number): readonly string[] {
  const script = `echo ${value} >/proc/sys/user/${name} && exec "$@"`;
  return ['unshare', '--user', '--map-root-user', 'sh', '-c', script, 'sh'];
}

const { status } = await runCommand('sh', [
  '-c',
  '"$@"',
  'sh',
  ...withLimit('max_inotify_watches', 1),
  'true',
]);

for (const [name, value, sysctl] of [
  ['max_inotify_watches', 1, 'fs.inotify.max_user_watches'],
  ['max_inotify_instances', 0, 'fs.inotify.max_user_instances'],
] as const) {
  t.test(
    `G5: with ${name} used up the agent says what it costs and what to set, and stores every change`,
    { skip: status !== 0 && 'no user namespaces here' },
    async (t) => {
      const site = await Site.create(t);
      const host = await site.host('kvm-a', { timing: { rescan: '1s' } });
      await host.startAgent(t, withLimit(name, value));
      const guest = await Guest.start(t, host);
      await guest.keep(Buffer.from('noticed by looking'));
      await site.volumeOf(guest).waitForHead(await guest.permall(), PATIENCE_MS);
      const attention = await waitUntil('it to be told', PATIENCE_MS, async () => {
        const told = JSON.stringify(await host.runJson(['status']));
        return told.includes('inotify') ? told : undefined;
      });
      t.match(attention, 'instead of within 0.1 s');
      t.match(attention, sysctl);
      // Longer than one failure is told for.
      await delay(4_000);
      const { stdout } = await host.run(['status']);
      t.match(stdout, sysctl, 'people are told, too');
      await guest.stop();
    },
  );
}

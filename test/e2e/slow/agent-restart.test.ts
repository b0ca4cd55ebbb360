/**
 * An agent that is restarted while VMs run: nothing is lost, nothing is published twice.
 */
import t from 'tap';
import { Guest, OTHER_DOMAIN } from '../../fixtures/guest.js';
import type { HostFixture } from '../../fixtures/host.js';
import type { AgentProcess } from '../../fixtures/program.js';
import { Site } from '../../fixtures/site.js';
import type { TestScope } from '../../fixtures/temporary-directory.js';

const ENDS = ['SIGTERM', 'SIGKILL', 'SIGKILL', 'SIGTERM'] as const;

async function end(
  host: HostFixture,
  agent: AgentProcess,
  how: 'SIGTERM' | 'SIGKILL',
): Promise<number | null> {
  if (how === 'SIGTERM') return (await agent.stop()).status;
  await agent.kill();
  await host.expireLocks();
  return 0;
}

async function restart(
  t: TestScope,
  host: HostFixture,
  agent: AgentProcess,
  how: 'SIGTERM' | 'SIGKILL',
): Promise<AgentProcess> {
  await end(host, agent, how);
  return await host.startAgent(t);
}

t.test(
  'G4: what VMs write before, while and after their agent is away reaches the share, each state once',
  async (t) => {
    const site = await Site.create(t);
    const host = await site.host('kvm-a');
    let agent = await host.startAgent(t);
    const guests = [await Guest.start(t, host), await Guest.start(t, host, { uuid: OTHER_DOMAIN })];
    for (const guest of guests) await guest.keep(Buffer.alloc(64));
    let round = 0;
    for (const how of ENDS) {
      round += 1;
      for (const guest of guests) await guest.write(Buffer.alloc(64, `before ${round}`));
      t.equal(await end(host, agent, how), 0, `${how} ends the agent`);
      // One of them writes unseen; the other one's last write may or may not have been seen.
      await guests[0]?.write(Buffer.alloc(64, `meanwhile ${round}`));
      agent = await host.startAgent(t);
      for (const guest of guests) await site.volumeOf(guest).waitForHead(await guest.permall());
      for (const guest of guests) await guest.write(Buffer.alloc(64, `after ${round}`));
      for (const guest of guests) await site.volumeOf(guest).waitForHead(await guest.permall());
    }
    for (const guest of guests) {
      const digests = (await site.volumeOf(guest).published()).map((name) => name.digestPrefix);
      t.strictSame(new Set(digests).size, digests.length, 'every generation has a content of its own');
      t.ok(digests.length >= ENDS.length * 2, 'every round was published');
    }
  },
);

t.test('a restarted agent publishes nothing for a VM that has not changed', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  let agent = await host.startAgent(t);
  const guest = await Guest.start(t, host);
  await guest.keep(Buffer.from('unchanged'));
  const volume = site.volumeOf(guest);
  const head = await volume.waitForHead(await guest.permall());
  const before = await volume.published();
  for (const how of ENDS) {
    agent = await restart(t, host, agent, how);
    await volume.waitForTop('claim');
    t.strictSame(await host.runJson(['capture', guest.uuid]), { uuid: guest.uuid, generation: head.slot });
  }
  t.strictSame(await volume.published(), before);
});

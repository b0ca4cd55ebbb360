/**
 * A start that waits for another host to expire: whoever looks sees that it waits, and for whom.
 */
import t from 'tap';
import { DOMAIN, Guest } from '../../fixtures/guest.js';
import { Site } from '../../fixtures/site.js';
import { waitUntil } from '../../fixtures/wait-until.js';

t.test(
  'a start waits for a silent holder to expire, the status says so, and then it takes over',
  async (t) => {
    const site = await Site.create(t, { timing: { host_expiry: '20s', start_deadline: '90s' } });
    const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
    const agentA = await a.startAgent(t);
    await b.startAgent(t);
    const onA = await Guest.start(t, a);
    await onA.keep(Buffer.from('of host A'));
    await site.volumeOf(onA).waitForHead(await onA.permall());
    agentA.signal('SIGSTOP');

    const starting = Guest.start(t, b);
    const [waiting] = await waitUntil('B to say that it waits', 60_000, async () => {
      const { body } = await b.request({ path: '/v1/status' });
      const { domains } = JSON.parse(body) as { domains: { attention: object[] }[] };
      return domains[0]?.attention.length ? domains : undefined;
    });
    t.match(waiting, {
      uuid: DOMAIN,
      attention: [{ code: 'HELD_ELSEWHERE', message: /held by host kvm-a, which is alive/, next: /kvm-a/ }],
    });
    const onB = await starting;
    t.strictSame(await onB.read(9), Buffer.from('of host A'));
    t.match(await b.runJson(['status']), { domains: [{ uuid: DOMAIN, state: 'running', attention: [] }] });
  },
);

/**
 * Commands about domains that nobody knows.
 */
import { join } from 'node:path';
import t from 'tap';
import { isError, siteWithHistory } from '../../fixtures/refused-start.js';
import { readTree } from '../../fixtures/tree.js';

const history = siteWithHistory(t);

t.test('commands about a domain that nobody knows, or that is no domain, say so', async (t) => {
  const site = await (await history).copy(t);
  const host = await site.host('kvm-a');
  const unknown = '00000000-1111-4222-8333-444444444444';
  const before = await readTree(join(site.share, 'volumes'));
  const noSuchDomain = {
    status: 6,
    code: 'NO_SUCH_DOMAIN',
    says: /no|not/,
    next: /swtpm-mirror (status|history)|virsh domuuid/,
  };
  for (const args of [
    ['capture', unknown],
    ['history', unknown],
    ['history', 'no such name'],
    ['status', unknown],
    ['verify', unknown],
    ['take-over', unknown],
    ['restore', unknown, '--to', join(site.base, 'out')],
  ]) {
    await t.test(args.join(' '), async (t) => isError(t, await host.run(args), noSuchDomain));
  }
  await t.test('prepare of what is no UUID', async (t) => {
    const usage = { status: 2, code: 'USAGE', says: /is not a domain UUID/, next: /virsh domuuid/ };
    isError(t, await host.run(['domain', 'prepare', 'vm']), usage);
  });
  t.strictSame(await readTree(join(site.share, 'volumes')), before, 'and leave the share as it was');
});

import type { NetworkInterfaceInfo } from 'node:os';
import t from 'tap';
import { hostAddresses } from '../../../src/host/node-environment.js';

function at(address: string, internal = false): NetworkInterfaceInfo {
  const common = { address, internal, netmask: '', mac: '02:00:00:00:00:01', cidr: null };
  return address.includes(':') ? { ...common, family: 'IPv6', scopeid: 0 } : { ...common, family: 'IPv4' };
}

t.test('the addresses by which a machine is found', async (t) => {
  const found = hostAddresses(() => ({
    lo: [at('127.0.0.1', true), at('::1', true)],
    eth0: [at('192.0.2.7'), at('fe80::1'), at('2001:db8::7')],
    eth1: undefined,
  }));
  t.strictSame(found, ['192.0.2.7', '2001:db8::7']);
});

t.test('a confinement that denies the question costs the addresses, and nothing else', async (t) => {
  for (const code of ['EAFNOSUPPORT', 'EPERM', 'EACCES', 'ERR_SYSTEM_ERROR']) {
    const denied = (): never => {
      throw Object.assign(new Error(code), { code });
    };
    t.strictSame(hostAddresses(denied), [], code);
  }
});

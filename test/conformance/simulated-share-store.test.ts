import t from 'tap';
import { VolumeHosts } from '../fixtures/volume-hosts.js';
import { shareAdministrationConformance, type MakeServices } from './share-administration.js';
import { shareStoreConformance } from './share-store.js';

const onSimulatedDisk: MakeServices = () => {
  const hosts = new VolumeHosts();
  return Promise.resolve({ a: hosts.start('kvm-a').store, b: hosts.start('kvm-b').store });
};

void t.test('the store in this process conforms on a simulated disk', async (t) => {
  await shareStoreConformance(t, onSimulatedDisk);
  await shareAdministrationConformance(t, onSimulatedDisk);
});

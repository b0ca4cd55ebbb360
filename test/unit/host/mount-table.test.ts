import t from 'tap';
import { mountOf } from '../../../src/host/mount-table.js';

const TABLE = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:45 / /mnt/tpm rw,noatime shared:20 - nfs4 nas:/tpm rw,vers=4.2,hard,proto=tcp
41 22 0:46 / /mnt/a\\040b ro - nfs nas:/other rw,vers=3,soft
42 40 0:47 / /mnt/tpm rw - tmpfs tmpfs rw
`;

t.test('a path belongs to the innermost mount, and of two at one place to the later', async (t) => {
  t.match(mountOf(TABLE, '/mnt/tpmx'), { mountPoint: '/', type: 'ext4' });
  t.match(mountOf(TABLE, '/mnt/tpm/volumes'), { mountPoint: '/mnt/tpm', type: 'tmpfs' });
  const other = mountOf(TABLE, '/mnt/a b');
  t.match(other, { mountPoint: '/mnt/a b', type: 'nfs', source: 'nas:/other' });
  t.strictSame([...(other?.options ?? [])], ['ro', 'rw', 'vers=3', 'soft']);
});

t.test('lines of another form tell nothing', async (t) => {
  t.equal(mountOf('nonsense\n\n1 2 3', '/mnt'), undefined);
});

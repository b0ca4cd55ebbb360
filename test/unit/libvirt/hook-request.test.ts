import t from 'tap';
import { mustSucceed } from '../../../src/libvirt/hook-operation.js';
import { readHookRequest } from '../../../src/libvirt/hook-request.js';

const TPM = "<tpm><backend type='emulator' version='2.0'/></tpm>";
const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const domain = (devices: string, metadata = ''): string =>
  `<domain><name>vm</name><uuid>${UUID}</uuid><metadata>${metadata}</metadata><devices>${devices}</devices></domain>`;

function actionOf(operation: string, xml = domain(TPM)): string {
  return readHookRequest({ operation, extra: '-' }, xml, '/var/lib/libvirt/swtpm').action;
}

t.test("libvirt's operations and what each of them means", async (t) => {
  const meanings = {
    migrate: 'announce-incoming',
    prepare: 'prepare',
    start: 'none',
    started: 'launched',
    stopped: 'none',
    release: 'released',
    reconnect: 'running',
    attach: 'running',
    restore: 'restoring',
    'of a newer libvirt': 'none',
  };
  for (const [operation, action] of Object.entries(meanings)) t.equal(actionOf(operation), action, operation);
});

t.test('the XML is read only where something is done', async (t) => {
  t.equal(actionOf('stopped', 'not XML'), 'none');
  t.throws(() => actionOf('prepare', 'not XML'), { code: 'XML_INVALID' });
});

t.test(
  'G8: a start never fails in silence, and a running domain is never killed for a failure of ours',
  async (t) => {
    for (const operation of ['reconnect', 'attach']) t.equal(mustSucceed(operation), true, operation);
    for (const operation of ['prepare', 'started', 'migrate', 'release']) {
      t.equal(mustSucceed(operation), false, operation);
    }
  },
);

t.test('the reason of a stop comes from the extra argument, when it has one', async (t) => {
  const reasonOf = (extra: string): unknown => {
    const request = readHookRequest({ operation: 'release', extra }, domain(TPM), '/swtpm');
    return request.action === 'none' ? 'none' : request.reason;
  };
  t.equal(reasonOf('migrated'), 'migrated');
  t.equal(reasonOf('-'), undefined);
  t.equal(reasonOf(''), undefined);
  t.equal(reasonOf('a\nb'), undefined);
});

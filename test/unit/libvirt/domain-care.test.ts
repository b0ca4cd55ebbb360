import fc from 'fast-check';
import { posix } from 'node:path';
import t from 'tap';
import { careFor, plainDirectory } from '../../../src/libvirt/domain-care.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const SWTPM = '/var/lib/libvirt/swtpm';

function xml(tpm: string, metadata = ''): string {
  return `<domain><name>vm</name><uuid>${UUID}</uuid><metadata>${metadata}</metadata><devices>${tpm}</devices></domain>`;
}

function emulated(source: string, version = '2.0'): string {
  return `<tpm><backend type='emulator' version='${version}'>${source}</backend></tpm>`;
}

function dir(path: string, version?: string): string {
  return emulated(`<source type='dir' path='${path}'/>`, version);
}

t.test('each kind of TPM is looked after, left alone or told, by one rule', async (t) => {
  const asks = "<mirror xmlns='urn:swtpm-mirror:domain' enabled='no'/>";
  for (const [tpm, metadata, kind] of [
    ['', '', 'without-tpm'],
    ['', asks, 'without-tpm'],
    [emulated(''), '', 'looked-after'],
    [emulated('', '1.2'), '', 'looked-after'],
    [emulated(''), asks, 'left-alone'],
    [dir('/srv/tpm'), asks, 'left-alone'],
    [emulated("<source type='file' path='/srv/tpm.img'/>"), '', 'unsupported'],
    [emulated("<source type='block' path='/dev/sdz'/>"), '', 'unsupported'],
    [emulated("<source path='/srv/tpm'/>"), '', 'looked-after'],
    [dir('srv/tpm'), '', 'unsupported'],
    [dir('./tpm'), '', 'unsupported'],
    [dir(''), '', 'unsupported'],
    [dir(`/${'a'.repeat(600)}`), '', 'unsupported'],
    ["<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", '', 'unsupported'],
    ["<tpm><backend type='external'><source type='unix' path='/tmp/s'/></backend></tpm>", '', 'unsupported'],
    ["<tpm><backend type='of-a-newer-libvirt'/></tpm>", '', 'unsupported'],
    [`<tpm><backend type='passthrough'/></tpm>${emulated('')}`, '', 'looked-after'],
  ] as const) {
    t.match(careFor(xml(tpm, metadata), SWTPM), { kind, uuid: UUID, name: 'vm' }, `${tpm} ${metadata}`);
  }
});

t.test("libvirt's own place is known in every spelling, of either version", async (t) => {
  const noise = fc.constantFrom('/', '//', '/./', '/x/../', '/.//', '///');
  fc.assert(
    fc.property(
      fc.constantFrom(['tpm2', '2.0'], ['tpm1.2', '1.2']),
      fc.array(noise, { minLength: 7, maxLength: 7 }),
      fc.constantFrom(SWTPM, `${SWTPM}/`, '/var//lib/./libvirt/swtpm'),
      ([role = '', version = ''], between, configured) => {
        const names = ['var', 'lib', 'libvirt', 'swtpm', UUID, role];
        const path = names.map((name, at) => `${between[at] ?? '/'}${name}`).join('');
        const spelled = `${path}${between[6] === '/x/../' ? '/' : (between[6] ?? '')}`;
        t.match(careFor(xml(dir(spelled, version)), configured), { kind: 'looked-after', own: undefined });
      },
    ),
  );
  t.match(careFor(xml(dir(`${SWTPM}/${UUID}/tpm2`, '1.2')), SWTPM), {
    own: { role: 'tpm1.2', directory: `${SWTPM}/${UUID}/tpm2` },
  });
});

t.test('any other directory is its own, under one spelling', async (t) => {
  const name = fc.stringMatching(/^[a-zA-Z0-9_.\- ]{1,12}$/).filter((text) => !/^\.{1,2}$/.test(text));
  fc.assert(
    fc.property(
      fc.array(name, { minLength: 1, maxLength: 8 }),
      fc.constantFrom('', '/', '//', '/.'),
      (names, end) => {
        const path = `/${names.join('/')}`;
        const care = careFor(xml(dir(`${path}${end}`)), SWTPM);
        t.match(care, { kind: 'looked-after', own: { role: 'tpm2', directory: path } });
        t.equal(plainDirectory(path), posix.normalize(path));
      },
    ),
  );
});

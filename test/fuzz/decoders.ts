/**
 * decoders: everything of this program that reads what somebody else may have written, each with valid specimens of it.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { controlApi } from '../../src/agent/api/control-api.js';
import { guardedMetrics } from '../../src/agent/api/metrics-guard.js';
import { noteArguments, readSealedHeader } from '../../src/bundle/age-header.js';
import { decodeBundle, describeCapture, encodeBundle } from '../../src/bundle/archive.js';
import { formatManifest, parseManifest } from '../../src/bundle/manifest.js';
import { formatMetadataElement, parseMetadataElement } from '../../src/bundle/metadata-element.js';
import { decodeOvirt, encodeOvirt, type Compressor } from '../../src/bundle/ovirt.js';
import { tarEntries, TarError } from '../../src/bundle/tar-reader.js';
import { formatRecord, parseRecord, type JournalRecord } from '../../src/host/journal-record.js';
import { parseSpoolName } from '../../src/host/spool-name.js';
import { careFor } from '../../src/libvirt/domain-care.js';
import { readDomainXml } from '../../src/libvirt/domain-xml.js';
import { stopReason } from '../../src/libvirt/domain-log.js';
import { readHookRequest } from '../../src/libvirt/hook-request.js';
import { parseConfig } from '../../src/model/config.js';
import { MirrorError } from '../../src/model/errors.js';
import { formatGenerationName, parseGenerationName } from '../../src/model/generation-name.js';
import { parseDomainUuid, parseHostName } from '../../src/model/identifiers.js';
import { parsePayload } from '../../src/model/log-entry.js';
import { validateStateFile } from '../../src/model/swtpm-blob.js';
import { boundedServer, CONTROL_LIMITS } from '../../src/wiring/listeners.js';
import { FAKE_AGE } from '../fakes/fake-age.js';
import { domainXml } from '../fixtures/domain-xml.js';
import { readStateBlob, STATE_FIXTURES } from '../fixtures/state-blobs.js';
import { tpmCapture, UUID } from '../fixtures/tpm-captures.js';
import { SHARE, VolumeHosts } from '../fixtures/volume-hosts.js';

/** One of them. `decode` gives anything, or throws what `isRefusal` knows; it never hangs. */
export interface Decoder {
  readonly name: string;
  readonly specimens: readonly Uint8Array[];
  readonly decode: (data: Buffer) => unknown;
  /** What is awaited takes long: fewer cases are worth it. @default 1 */
  readonly share?: number;
  readonly close?: () => Promise<void>;
}

/** A refusal by name. `INTERNAL` is none: it says that this program is at fault. */
export function isRefusal(error: unknown): boolean {
  return error instanceof TarError || (error instanceof MirrorError && error.code !== 'INTERNAL');
}

const bytes = (text: string): Uint8Array => Buffer.from(text);
const PLAIN: Compressor = {
  compress: (_kind, data) => Promise.resolve(data),
  decompress: (_kind, data) => Promise.resolve(data),
};
const CAPTURE = tpmCapture(1);
const FIELDS = {
  slot: 2,
  epoch: 1,
  parent: 0,
  host: parseHostName('kvm-a'),
  bootId: 'boot',
  time: '2026-01-01T00:00:00.000Z',
  reason: 'change',
  name: 'vm',
  swtpm: '0.10',
  libtpms: '0.10',
} as const;

const RECORD: JournalRecord = parseRecord(
  'specimen',
  UUID,
  bytes(
    JSON.stringify({
      format: 1,
      uuid: UUID,
      name: 'vm',
      shareId: 'a'.repeat(32),
      phase: 'running',
      epoch: 1,
      holding: true,
      slot: 2,
      digest: 'b'.repeat(64),
      identity: 'c'.repeat(64),
      fenced: null,
      nvramPath: '/var/lib/libvirt/qemu/nvram/vm_VARS.fd',
      bootId: 'boot',
      updatedAt: '2026-01-01T00:00:00.000Z',
    }),
  ),
);

const CONFIG = `host = "kvm-a"
share = "/srv/share"
placement = "mirror"
[libvirt]
uri = "qemu:///system"
nvram = true
[timing]
settle = "100ms"
heartbeat = "5s"
[encryption]
recipients = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
identity_file = ""
[metrics]
listen = "127.0.0.1:9753"
[limits]
spool_bytes = "256MiB"
`;

const NAME = formatGenerationName({
  slot: 41,
  epoch: 36,
  host: parseHostName('kvm-a'),
  digestPrefix: '0123456789abcdef',
  tpmDigestPrefix: 'fedcba9876543210',
  nonce: '5fb1c00000000000',
});

const PAYLOADS = [
  `../gen/${NAME}`,
  'claim?host=kvm-b&token=0123456789abcdef&at=2026-01-01T00:00:00.000Z&reason=take-over&from=kvm-a&silent=31000',
  'release?host=kvm-b&token=0123456789abcdef&at=2026-01-01T00:00:00.000Z&epoch=00000042&reason=shutdown',
  'tombstone?host=kvm-b&token=0123456789abcdef&at=2026-01-01T00:00:00.000Z&epoch=00000042&reason=forget',
];

export async function decoders(): Promise<Decoder[]> {
  const bundle = await encodeBundle(describeCapture(CAPTURE, FIELDS), CAPTURE);
  const tar = gunzipSync(bundle);
  const { tpm } = await encodeOvirt(CAPTURE, PLAIN);
  const element = formatMetadataElement(bundle, { uuid: UUID, digest: CAPTURE.digest }, 2);
  const xml = domainXml({ uuid: UUID, name: 'vm', metadata: element });
  return [
    ...blobDecoders(),
    ...bundleDecoders(bundle, tar),
    { name: 'age-header', specimens: await sealed(bundle), decode: (data) => readSealedHeader(data) },
    {
      name: 'metadata-element',
      specimens: [bytes(element), bytes(xml)],
      decode: (data) => parseMetadataElement(data.toString()),
    },
    {
      name: 'ovirt',
      specimens: [bytes(tpm), bytes(`=0=${tpm}`)],
      decode: (data) => decodeOvirt(UUID, { tpm: data.toString('latin1') }, PLAIN),
    },
    {
      name: 'ovirt-tar',
      specimens: [Buffer.from(tpm, 'base64')],
      decode: (data) => decodeOvirt(UUID, { tpm: data.toString('base64') }, PLAIN),
    },
    ...textDecoders(xml),
    await shareDecoder(
      'marker',
      `${SHARE}/swtpm-mirror.json`,
      [
        '{"id":"',
        'a'.repeat(32),
        '","format":2,"createdAt":"2026-01-01T00:00:00.000Z","escrow":"age1x"}',
      ].join(''),
    ),
    await shareDecoder('host-record', `${SHARE}/hosts/kvm-a/host.json`, '{"machineId":"machine of kvm-a"}\n'),
    await shareDecoder(
      'heartbeat',
      `${SHARE}/hosts/kvm-b/heartbeat`,
      '            2026-01-01T00:00:00.000Z 0.1.0\n',
    ),
    await httpDecoder(),
  ];
}

function blobDecoders(): Decoder[] {
  const blobs = STATE_FIXTURES.map(readStateBlob);
  return (['tpm2', 'tpm1.2'] as const).map((role) => {
    const [first] = blobs.filter((blob) => blob.role === role);
    const names = [...new Set(blobs.filter((blob) => blob.role === role).map(({ name }) => name))];
    return {
      name: `blob-${role}`,
      specimens: blobs.filter((blob) => blob.role === role).map(({ data }) => data),
      decode: (data: Buffer) => {
        const name = names[data.length % names.length] ?? first?.name ?? '';
        return validateStateFile(role, name, data);
      },
    };
  });
}

function bundleDecoders(bundle: Uint8Array, tar: Uint8Array): Decoder[] {
  return [
    { name: 'archive', specimens: [bundle], decode: (data) => decodeBundle(data) },
    // What an attacker makes has a good CRC: mutations below it.
    { name: 'archive-tar', specimens: [tar], decode: (data) => decodeBundle(gzipSync(data, { level: 1 })) },
    {
      name: 'tar',
      specimens: [tar],
      decode: (data) => [...tarEntries(data)].map(({ content }) => content().length),
    },
    {
      name: 'manifest',
      specimens: [formatManifest(describeCapture(CAPTURE, FIELDS))],
      decode: (data) => parseManifest(data),
    },
  ];
}

async function sealed(bundle: Uint8Array): Promise<Uint8Array[]> {
  const encrypter = new FAKE_AGE.Encrypter();
  encrypter.addRecipient('age1x');
  const words = noteArguments({ recipientSet: '0123456789abcdef', plainBytes: bundle.length });
  encrypter.addRecipient({ wrapFileKey: () => [new FAKE_AGE.Stanza(words, new Uint8Array(0))] });
  return [await encrypter.encrypt(bundle)];
}

function textDecoders(xml: string): Decoder[] {
  const text = (name: string, specimens: readonly string[], decode: (text: string) => unknown): Decoder => ({
    name,
    specimens: specimens.map(bytes),
    decode: (data) => decode(data.toString('utf8')),
  });
  return [
    text('log-entry', PAYLOADS, (payload) => parsePayload(42, payload)),
    text('generation-name', [NAME, NAME.replace('.tar.gz', '')], parseGenerationName),
    text('spool-name', ['0000000000000001-0123456789abcdef-5fb1c0.tar.gz', NAME], parseSpoolName),
    text('domain-xml', [xml], (input) => [readDomainXml(input), careFor(input, '/swtpm')]),
    text('hook-request', [xml], (input) =>
      readHookRequest({ operation: 'prepare', extra: '-' }, input, '/swtpm'),
    ),
    text('domain-log', ['2026-01-01 00:00:00.000+0000: shutting down, reason=migrated\n'], stopReason),
    text('config', [CONFIG, ''], (input) =>
      parseConfig(input, { hostName: 'kvm-a', path: '/etc/config.toml' }),
    ),
    text('uuid', [UUID], parseDomainUuid),
    {
      name: 'journal-record',
      specimens: [formatRecord(RECORD)],
      decode: (data) => parseRecord('/journal/record.json', UUID, data),
    },
  ];
}

/** A file on a share that every operation may read. */
async function shareDecoder(name: string, path: string, specimen: string): Promise<Decoder> {
  const hosts = new VolumeHosts();
  await hosts.start('kvm-a').store.initialise({});
  for (const host of ['kvm-a', 'kvm-b']) await hosts.start(host).store.beat({ shareId: undefined });
  let store = hosts.start('kvm-a').store;
  let cases = 0;
  return {
    name,
    share: 0.1,
    specimens: [bytes(specimen)],
    decode: async (data) => {
      // One that begins anew reads everything anew; now and then is enough.
      if (cases++ % 8 === 0) store = hosts.start('kvm-a').store;
      await hosts.plant(path, data);
      await store.identify({});
      await store.beat({ shareId: undefined });
      return await store.survey({ hostExpiryMs: 30_000, shareId: undefined });
    },
  };
}

/** Requests as they come over the control socket. The agent behind it takes whatever it is asked for. */
async function httpDecoder(): Promise<Decoder> {
  const directory = await mkdtemp(join(tmpdir(), 'fuzz-'));
  const path = join(directory, 'control.sock');
  const nothing = (): Promise<undefined> => Promise.resolve(undefined);
  const supervisor = {
    health: () => ({ id: '', state: 'online', latencyMs: 0, beatAgeMs: 0, error: undefined }),
    replicators: () => [],
    attention: () => [],
    find: () => undefined,
    prepare: () => Promise.resolve({ decision: 'start-new', published: undefined }),
    ...{ started: nothing, launched: nothing, stopped: nothing, dismiss: nothing, captureNow: nothing },
    withoutTpm: () => undefined,
  };
  const config = parseConfig('', { hostName: 'kvm-a', path: '' });
  const clock = { nowMs: () => 0, monotonicMs: () => performance.now() };
  const api = controlApi({ config, clock } as never, supervisor as never, {} as never);
  const metrics = guardedMetrics((_request, response) => response.end('ok\n'), { clock, names: ['kvm-a'] });
  const server = boundedServer(
    { ...CONTROL_LIMITS, headersMs: 500, requestMs: 500 },
    (request, response) => (request.url === '/metrics' ? metrics : api)(request, response),
    () => undefined,
  );
  server.listen(path);
  await once(server, 'listening');
  const head = 'Host: kvm-a\r\nConnection: close\r\n';
  const post = (url: string, body: string): string =>
    `POST ${url} HTTP/1.1\r\n${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  return {
    name: 'http',
    share: 0.005,
    specimens: [
      `GET /v1/status HTTP/1.1\r\n${head}\r\n`,
      `GET /metrics HTTP/1.1\r\n${head}\r\n`,
      `GET /v1/domains/${UUID}/state?known=${'a'.repeat(64)} HTTP/1.1\r\n${head}\r\n`,
      post(`/v1/domains/${UUID}/prepare`, '{"name":"vm","nvramPath":"/x","incoming":true}'),
      post(`/v1/domains/${UUID}/stopped`, '{"reason":"shutdown"}'),
      post('/v1/hook?operation=release&extra=-', domainXml({ uuid: UUID, name: 'vm' })),
      `POST /v1/hook HTTP/1.1\r\n${head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
    ].map(bytes),
    decode: async (data) => {
      const socket = connect(path);
      socket.on('error', () => undefined).resume();
      socket.end(data);
      await once(socket, 'close');
      if (!server.listening) throw new Error('the server ended');
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await rm(directory, { recursive: true });
    },
  };
}

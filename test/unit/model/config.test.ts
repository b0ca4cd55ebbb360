import fc from 'fast-check';
import t from 'tap';
import { parseConfig, type Config } from '../../../src/model/config.js';
import { MirrorError } from '../../../src/model/errors.js';

const DEFAULTS = { hostName: 'KVM-A' };

function parse(text: string): Config {
  return parseConfig(text, DEFAULTS);
}

/** The problems that a file is refused for. */
function problems(text: string, hostName = 'kvm-a'): readonly string[] {
  try {
    parseConfig(text, { hostName });
  } catch (error) {
    if (!(error instanceof MirrorError) || error.code !== 'CONFIG_INVALID') throw error;
    if (!/^read the configuration: [^\n]*[^.\n]$/.test(error.message) || error.next === '') {
      throw new Error('a badly formed error', { cause: error });
    }
    return error.message.replace('read the configuration: ', '').split('; ');
  }
  return [];
}

t.test('an empty file is the documented defaults', async (t) => {
  t.strictSame(parse(''), {
    host: 'kvm-a',
    share: '/var/lib/swtpm-mirror/share',
    shareIsDefault: true,
    stateDir: '/var/lib/swtpm-mirror',
    runDir: '/run/swtpm-mirror',
    placement: 'mirror',
    libvirt: {
      uri: 'qemu:///system',
      swtpmDir: '/var/lib/libvirt/swtpm',
      nvramDir: '/var/lib/libvirt/qemu/nvram',
      logDir: '/var/log/libvirt/qemu',
      nvram: true,
    },
    timing: {
      settleMs: 100,
      heartbeatMs: 5000,
      hostExpiryMs: 30_000,
      shareDeadlineMs: 5000,
      startDeadlineMs: 30_000,
      stopDeadlineMs: 20_000,
      rescanMs: 30_000,
      retryMaxMs: 30_000,
    },
    start: {
      withoutShare: 'refuse',
      takeOver: 'expired',
      damagedHead: 'refuse',
      localState: 'refuse',
      wait: 'expiry',
    },
    nvram: { mismatch: 'fresh' },
    retention: { generations: 32 },
    storage: { uid: 0, gid: 0, heartbeatAge: 'auto' },
    encryption: { recipients: [], identityFile: undefined, acceptPlain: false },
    metrics: { listen: undefined, names: [] },
    log: { level: 'info' },
    limits: { spoolBytesMax: 268_435_456, queuePerVolume: 8, queue: 256, storageProcesses: 4 },
  });
});

t.test('every key can be set', async (t) => {
  const config = parse(`
    host = "KVM-B.example.org"
    share = "/mnt//tpm/"
    state_dir = "/srv/state"
    run_dir = "/run/other"
    placement = "mirror"
    [libvirt]
    uri = "qemu+ssh://root@kvm-b/system"
    swtpm_dir = "/srv/swtpm"
    nvram_dir = "/srv/nvram"
    log_dir = "/srv/log"
    nvram = false
    [timing]
    settle = "0ms"
    heartbeat = "200ms"
    host_expiry = "600ms"
    share_deadline = "1s"
    start_deadline = "1s"
    stop_deadline = "1m"
    rescan = "2s"
    retry_max = "1h"
    [start]
    without_share = "last-known"
    take_over = "never"
    damaged_head = "previous"
    local_state = "manager"
    wait = "refuse-at-once"
    [retention]
    generations = 1
    [storage]
    uid = 36
    gid = 37
    [encryption]
    recipients = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
    identity_file = "/etc/swtpm-mirror/identity"
    [metrics]
    listen = "[::1]:9753"
    [log]
    level = "debug"
    [limits]
    spool_bytes = "2GiB"
    queue_per_volume = 1
    queue = 1
    storage_processes = 1
  `);
  t.match(config, {
    host: 'kvm-b.example.org',
    share: '/mnt/tpm',
    shareIsDefault: false,
    placement: 'mirror',
    libvirt: {
      uri: 'qemu+ssh://root@kvm-b/system',
      swtpmDir: '/srv/swtpm',
      nvramDir: '/srv/nvram',
      logDir: '/srv/log',
      nvram: false,
    },
    timing: {
      settleMs: 0,
      heartbeatMs: 200,
      hostExpiryMs: 600,
      stopDeadlineMs: 60_000,
      retryMaxMs: 3_600_000,
    },
    start: {
      withoutShare: 'last-known',
      takeOver: 'never',
      damagedHead: 'previous',
      localState: 'manager',
      wait: 'refuse-at-once',
    },
    retention: { generations: 1 },
    storage: { uid: 36, gid: 37 },
    encryption: { identityFile: '/etc/swtpm-mirror/identity' },
    metrics: { listen: { host: '::1', port: 9753 } },
    log: { level: 'debug' },
    limits: { spoolBytesMax: 2_147_483_648, queuePerVolume: 1, queue: 1, storageProcesses: 1 },
  });
  t.equal(config.encryption.recipients.length, 1);
});

t.test(
  'the embedded share follows the state directory, and a configured one is not the default',
  async (t) => {
    t.match(parse('state_dir = "/srv/state"'), { share: '/srv/state/share', shareIsDefault: true });
    t.match(parse('share = "/var/lib/swtpm-mirror/share"'), { shareIsDefault: false });
  },
);

t.test('an unknown key is refused with the nearest key and its section', async (t) => {
  t.strictSame(problems('shre = "/x"'), [
    'unknown key "shre" at the top level, the nearest key is "share" at the top level',
  ]);
  t.strictSame(problems('[timing]\nhearbeat = "5s"'), [
    'unknown key "hearbeat" in [timing], the nearest key is "heartbeat" in [timing]',
  ]);
  t.strictSame(problems('settle = "5s"'), [
    'unknown key "settle" at the top level, the nearest key is "settle" in [timing]',
  ]);
  t.strictSame(problems('[timings]\nsettle = "5s"'), [
    'unknown key "timings" at the top level, the nearest key is the section [timing]',
  ]);
  t.strictSame(problems('[storage]\nuuid = 3'), [
    'unknown key "uuid" in [storage], the nearest key is "uid" in [storage]',
  ]);
  t.match(problems('constructor = 1\ntoString = 2'), [/unknown key "constructor"/, /unknown key "toString"/]);
});

t.test('a wrong type or value is refused with the key, what it is and what was expected', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['share = "tpm"', 'share is "tpm", expected an absolute path without "." and ".."'],
    [
      'state_dir = "/srv/../etc"',
      'state_dir is "/srv/../etc", expected an absolute path without "." and ".."',
    ],
    ['run_dir = "/"', 'run_dir is "/", expected an absolute path without "." and ".."'],
    ['share = true', 'share is true, expected an absolute path without "." and ".."'],
    ['host = "a_b"', 'host is "a_b", expected at most 63 letters, digits, dots and hyphens'],
    ['placement = "both"', 'placement is "both", expected one of "mirror", "direct"'],
    ['timing = 5', 'timing is 5, expected a table'],
    ['timing = []', 'timing is an array, expected a table'],
    ['libvirt.nvram = "yes"', 'libvirt.nvram is "yes", expected true or false'],
    ['libvirt.uri = "system"', 'libvirt.uri is "system", expected a libvirt URI such as "qemu:///system"'],
    ['timing.settle = 5', 'timing.settle is 5, expected a duration from 0ms to 10s, such as "5s"'],
    ['timing.settle = "1m"', 'timing.settle is "1m", expected a duration from 0ms to 10s, such as "5s"'],
    [
      'timing.rescan = 2026-01-01',
      'timing.rescan is a date, expected a duration from 100ms to 1h, such as "5s"',
    ],
    ['start.take_over = {}', 'start.take_over is a table, expected one of "expired", "never"'],
    ['retention.generations = 0', 'retention.generations is 0, expected a whole number from 1 to 10000'],
    ['retention.generations = 1.5', 'retention.generations is 1.5, expected a whole number from 1 to 10000'],
    ['storage.uid = nan', 'storage.uid is NaN, expected a whole number from 0 to 4294967294'],
    [
      'log.level = "loud"',
      'log.level is "loud", expected one of "trace", "debug", "info", "warn", "error", "fatal"',
    ],
    [
      'metrics.listen = "9753"',
      'metrics.listen is "9753", expected an address and port such as "127.0.0.1:9753", or ""',
    ],
    [
      'metrics.listen = "localhost:70000"',
      'metrics.listen is "localhost:70000", expected an address and port such as "127.0.0.1:9753", or ""',
    ],
    [
      'limits.spool_bytes = "1kB"',
      'limits.spool_bytes is "1kB", expected a size from 1MiB to 1TiB, such as "256MiB"',
    ],
  ];
  for (const [text, problem] of cases) t.strictSame(problems(text), [problem], text);
});

t.test('relations between keys are checked', async (t) => {
  t.strictSame(problems('timing.heartbeat = "20s"'), [
    'timing.host_expiry is 30s, expected at least 3 times timing.heartbeat, 1m',
  ]);
  t.strictSame(problems('timing.share_deadline = "25s"'), [
    'timing.stop_deadline is 20s, expected at least timing.share_deadline, 25s',
  ]);
  t.strictSame(problems('timing.start_deadline = "4s"'), [
    'timing.start_deadline is 4s, expected at least timing.share_deadline, 5s',
  ]);
  t.strictSame(problems('limits.queue = 7'), [
    'limits.queue is 7, expected at least limits.queue_per_volume, 8',
  ]);
});

t.test('all problems of a file are reported at once', async (t) => {
  const found = problems(
    'shar = 1\nplacement = 3\n[timing]\nheartbeat = "20s"\n[log]\nlevl = "x"\nlevel = 1',
  );
  t.equal(found.length, 5);
  t.match(found.join(), /shar.*placement|placement.*shar/);
  t.match(found.join(), /levl/);
  t.match(found.join(), /host_expiry/);
});

t.test('a syntax error names its line and column and does not repeat the line', async (t) => {
  t.strictSame(problems('host = "kvm-a"\nshare = hunter2\n'), ['line 2, column 9: invalid value']);
  t.strictSame(problems('host = "a"\nhost = "hunter2"'), [
    'line 2, column 1: trying to redefine an already defined table or value',
  ]);
});

t.test('swtpm may work on the share itself only where the share is not to be encrypted', async (t) => {
  t.equal(parseConfig('placement = "direct"', { hostName: 'kvm-a' }).placement, 'direct');
  t.strictSame(problems('placement = "direct"\nencryption.recipients = []'), []);
  t.match(problems('placement = "direct"\nencryption.recipients = ["age1x"]'), [
    /^placement is "direct" and encryption\.recipients is set, expected one of them/,
  ]);
});

t.test('a secret that was pasted into the encryption section is not repeated', async (t) => {
  const secret = 'AGE-SECRET-KEY-1QQQQQQQQQQ';
  const found = problems(`encryption.recipients = ["${secret}", 5]\nencryption.identity_file = "${secret}"`);
  t.strictSame(found, [
    'encryption.recipients[0] is a string of 26 characters, expected an age recipient, "age1…"',
    'encryption.recipients[1] is 5, expected an age recipient, "age1…"',
    'encryption.identity_file is a string of 26 characters, expected an absolute path, or ""',
  ]);
});

t.test('a machine name that cannot serve matters only when no host is configured', async (t) => {
  t.strictSame(problems('', 'my_host'), [
    'host is not set and the machine\'s name is "my_host", expected at most 63 letters, digits, dots and hyphens',
  ]);
  t.strictSame(problems('host = "kvm-b"', 'my_host'), []);
});

t.test('no text makes anything but a configuration or CONFIG_INVALID', async (t) => {
  const line = fc.oneof(
    fc.string(),
    fc
      .tuple(
        fc.constantFrom(
          'host',
          'share',
          'timing.settle',
          'limits.queue',
          'encryption.recipients',
          '[timing]',
          '[x]',
          '"a b"',
        ),
        fc.constantFrom(
          '',
          ' = 1',
          ' = "x"',
          ' = []',
          ' = {}',
          ' = "',
          ' = nan',
          ' = 1979-05-27',
          ' = "\\u0000"',
        ),
      )
      .map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 6 }), (lines) => {
      problems(lines.join('\n'));
    }),
    { numRuns: 3000 },
  );
  t.pass();
});

import * as fc from 'fast-check';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  identityOf,
  isOwn,
  isSameHost,
  recogniseHost,
  relateMachine,
  separateRecord,
  type Author,
  type HostFinding,
  type IdentityRecord,
  type MachineMarks,
} from '../../../src/model/host-identity.js';
import { parsePayload, formatPayload, type ClaimEntry } from '../../../src/model/log-entry.js';
import { parseHostName } from '../../../src/model/identifiers.js';
import { hostIdOf, instanceOf } from '../../fixtures/host-identity.js';

const SOURCE = fileURLToPath(new URL('../../../src/', import.meta.url));
const NAMES = ['kvm-a', 'kvm-a.example.org', 'kvm-b'].map(parseHostName);
const MACHINE: MachineMarks = { machineId: 'm1', hardware: 'h1', bootId: 'b1' };

const anyMachine = fc.record({
  machineId: fc.constantFrom('m1', 'm2'),
  hardware: fc.constantFrom('', 'h1', 'h2'),
  bootId: fc.constantFrom('b1', 'b2', 'b3'),
});

const anyFinding: fc.Arbitrary<HostFinding> = fc.record({
  name: fc.constantFrom(...NAMES),
  machine: anyMachine,
  instance: fc.constantFrom('1', '2', '3').map(instanceOf),
});

function entryOf(record: IdentityRecord, finding: HostFinding): Author {
  const { name, id, instance } = identityOf(record, finding, []);
  return { host: name, id, instance };
}

t.test('a host knows its own entries, whatever it is called by then', (t) => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...NAMES), { minLength: 2, maxLength: 8 }), (names) => {
      let record: IdentityRecord | undefined;
      const written: Author[] = [];
      for (const [at, name] of names.entries()) {
        const machine = { ...MACHINE, bootId: `b${String(at)}` };
        const finding = { name, machine, instance: instanceOf(String(at)) };
        record = recogniseHost(record, finding).record;
        written.push(entryOf(record, finding));
        const self = identityOf(record, finding, []);
        for (const entry of written) if (!isOwn(entry, self)) return false;
        if (!isOwn({ host: names[0]! }, self)) return false;
        for (const other of NAMES) {
          if (other !== names[0] && isOwn({ host: other }, self)) return false;
          if (isOwn({ host: other, id: hostIdOf('another') }, self)) return false;
        }
      }
      return true;
    }),
  );
  t.end();
});

t.test('two machines with copies of one state directory are strangers from the copy on', (t) => {
  fc.assert(
    fc.property(anyFinding, anyFinding, anyFinding, (first, one, other) => {
      const { record } = recogniseHost(undefined, first);
      const here: HostFinding = { ...one, instance: instanceOf('here') };
      const there: HostFinding = { ...other, instance: instanceOf('there') };
      const original = identityOf(recogniseHost(record, here).record, here, []);
      const copied = recogniseHost(record, there).record;
      const entry = entryOf(copied, there);
      return !isOwn(entry, original);
    }),
  );
  t.end();
});

t.test('a state directory that nothing ties to the machine is another host’s', (t) => {
  fc.assert(
    fc.property(anyFinding, anyFinding, (made, found) => {
      const { record } = recogniseHost(undefined, made);
      const { news, record: next } = recogniseHost(record, found);
      const relation = relateMachine(made.machine, found.machine);
      if (relation !== 'another') return next.id === record.id && next.names[0] === found.name;
      return news.kind === 'copied' && next.instances.length === 1 && next.leaving.length === 0;
    }),
  );
  t.end();
});

t.test('what ties a state directory to its machine', (t) => {
  const table: readonly (readonly [Partial<MachineMarks>, string])[] = [
    [{}, 'same'],
    [{ machineId: 'm2', hardware: 'h2' }, 'same'],
    [{ bootId: 'b2' }, 'same'],
    [{ bootId: 'b2', machineId: 'm2' }, 'same'],
    [{ bootId: 'b2', hardware: 'h2' }, 'moved'],
    [{ bootId: 'b2', hardware: '' }, 'same'],
    [{ bootId: 'b2', hardware: '', machineId: 'm2' }, 'another'],
    [{ bootId: 'b2', hardware: 'h2', machineId: 'm2' }, 'another'],
  ];
  for (const [differs, expected] of table) {
    t.equal(relateMachine(MACHINE, { ...MACHINE, ...differs }), expected, JSON.stringify(differs));
  }
  t.end();
});

t.test('a rename is news once, and the former name is left', (t) => {
  const [short, long] = [NAMES[0]!, NAMES[1]!];
  const at = (name: typeof short) => ({ name, machine: MACHINE, instance: instanceOf('1') });
  const first = recogniseHost(undefined, at(short));
  t.equal(first.news.kind, 'none');
  const renamed = recogniseHost(first.record, at(long));
  t.same(renamed.news, { kind: 'renamed', from: short });
  t.match(renamed.record, { id: first.record.id, names: [long, short], leaving: [short] });
  t.equal(recogniseHost(renamed.record, at(long)).news.kind, 'none');
  const back = recogniseHost(renamed.record, at(short));
  t.match(back.record, { names: [short, long], leaving: [long] }, 'and back again');
  t.end();
});

t.test('an entry carries who wrote it, and one of program 0.1.0 is read as it is', (t) => {
  const entry: ClaimEntry = {
    kind: 'claim',
    slot: 7,
    host: NAMES[0]!,
    id: hostIdOf('a'),
    instance: instanceOf('a'),
    token: '0123456789abcdef',
    at: '2026-01-01T00:00:00Z',
    reason: 'start',
  };
  t.same(parsePayload(7, formatPayload(entry)), entry);
  const old = 'claim?host=kvm-a&token=0123456789abcdef&at=2026-01-01T00:00:00Z&reason=start';
  const { id: _id, instance: _instance, ...anonymous } = entry;
  t.same(parsePayload(7, old), anonymous);
  for (const strange of ['&id=', '&id=x', `&id=${'A'.repeat(32)}`, '&run=0123456789abcdef']) {
    t.same(parsePayload(7, old + strange), anonymous, strange);
  }
  t.ok(isSameHost(entry, anonymous), 'the same name is all that there is to go by');
  t.end();
});

t.test('whose an entry is, is asked in one place', (t) => {
  // Generations of one log are compared here, not hosts with this one.
  const allowed = new Set(['model/host-identity.ts', 'model/volume-log.ts', 'volume/pins.ts']);
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' });
  for (const file of files.filter((name) => name.endsWith('.ts') && !allowed.has(name))) {
    const text = readFileSync(join(SOURCE, file), 'utf8');
    t.notMatch(text, /\.host\s*[!=]==|[!=]==\s*[\w.?]+\.host\b/, file);
  }
  t.end();
});

t.test(
  'a copy that got an identity of its own keeps what it claimed in this boot, and nothing of the original',
  (t) => {
    fc.assert(
      fc.property(
        fc.array(anyFinding, { minLength: 1, maxLength: 5 }),
        anyMachine,
        fc.nat(3),
        (boots, machine, times) => {
          let original: IdentityRecord | undefined;
          for (const [at, finding] of boots.entries()) {
            const instance = instanceOf(`original ${String(at)}`);
            original = recogniseHost(original, { ...finding, machine: MACHINE, instance }).record;
          }
          const here = { name: NAMES[2]!, machine, instance: instanceOf('copy') };
          let copy = recogniseHost(original, here).record;
          const written = [entryOf(copy, here)];
          for (let time = 0; time <= times; time += 1) {
            copy = separateRecord(copy, here, hostIdOf(`copy ${String(time)}`));
            written.push(entryOf(copy, here));
          }
          const later = { ...here, instance: instanceOf('copy, later') };
          const self = identityOf(recogniseHost(copy, later).record, later, []);
          const mine = written.every((entry) => isOwn(entry, self));
          const theirs = (original?.instances ?? []).map((instance) => ({
            host: NAMES[0]!,
            id: original?.id,
            instance,
          }));
          return mine && !theirs.some((entry) => isOwn(entry, self));
        },
      ),
    );
    t.end();
  },
);

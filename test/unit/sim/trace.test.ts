import t from 'tap';
import { SimulatedWorld } from '../../sim/world.js';
import { Trace, type TraceEvent } from '../../sim/trace.js';

function event(timeMs: number): TraceEvent {
  return { timeMs, host: 'kvm-a', site: 'publish:rename', action: 'rename /a -> /b', outcome: 'ok' };
}

void t.test('the last events are kept, all count', (t) => {
  const trace = new Trace(3);
  const whole = new Trace();
  for (let at = 0; at < 10; at += 1) {
    trace.record(event(at));
    whole.record(event(at));
  }
  t.strictSame(
    trace.events.map((kept) => kept.timeMs),
    [7, 8, 9],
  );
  t.equal(trace.count, 10);
  t.equal(trace.fingerprint, whole.fingerprint);
  t.match(trace.toString(), /^\(7 earlier events left out\)\n {7}7\.000 {2}kvm-a +publish:rename +rename/);
  t.end();
});

void t.test('events that differ in one field give another fingerprint', (t) => {
  const one = new Trace();
  const other = new Trace();
  one.record(event(1));
  other.record({ ...event(1), outcome: 'EIO' });
  t.not(one.fingerprint, other.fingerprint);
  t.end();
});

void t.test('a call, its execution at the server and its outcome can be read', async (t) => {
  const world = new SimulatedWorld('trace');
  const { share } = world.host('kvm-a').start();
  await world.outcome(share.symlink('publish:symlink', 'payload', '/slot'));
  t.match(
    world.trace.toString(),
    /server .* SYMLINK -> payload at slot for kvm-a {2}executed\n.* kvm-a +publish:symlink +symlink \/slot {2}ok/,
  );
});

import fc from 'fast-check';
import t from 'tap';
import { RequestQueue } from '../../../src/storage/request-queue.js';

interface Item {
  readonly lane: string;
  readonly number: number;
}

function queueOf(perLaneMax: number, totalMax: number): RequestQueue<Item> {
  return new RequestQueue<Item>({ perLaneMax, totalMax }, ['heartbeat']);
}

t.test('lanes take turns, and a lane in work is passed over until it is finished', (t) => {
  const queue = queueOf(10, 10);
  for (const [lane, number] of [
    ['a', 1],
    ['a', 2],
    ['b', 3],
    ['a', 4],
    ['b', 5],
  ] as const) {
    queue.offer({ lane, number });
  }
  t.same(queue.take('unreserved'), { lane: 'a', number: 1 });
  t.same(queue.take('unreserved'), { lane: 'b', number: 3 });
  t.equal(queue.take('unreserved'), undefined);
  queue.finish('b');
  t.same(queue.take('unreserved'), { lane: 'b', number: 5 });
  queue.finish('a');
  t.same(queue.take('unreserved'), { lane: 'a', number: 2 });
  queue.finish('a');
  t.same(queue.take('unreserved'), { lane: 'a', number: 4 });
  t.equal(queue.size, 0);
  t.end();
});

t.test('a full queue turns volumes away and never the heartbeat', (t) => {
  const queue = queueOf(2, 3);
  t.equal(queue.offer({ lane: 'a', number: 1 }), 'accepted');
  t.equal(queue.offer({ lane: 'a', number: 2 }), 'accepted');
  t.equal(queue.offer({ lane: 'a', number: 3 }), 'lane-full');
  t.equal(queue.offer({ lane: 'b', number: 4 }), 'accepted');
  t.equal(queue.offer({ lane: 'c', number: 5 }), 'queue-full');
  t.equal(queue.offer({ lane: 'heartbeat', number: 6 }), 'accepted');
  t.equal(queue.offer({ lane: 'heartbeat', number: 7 }), 'accepted');
  t.equal(queue.offer({ lane: 'heartbeat', number: 8 }), 'lane-full');
  t.same(queue.take('reserved'), { lane: 'heartbeat', number: 6 });
  t.equal(queue.take('reserved'), undefined, 'the heartbeat before is still in work');
  t.end();
});

t.test('removing a waiting item frees its place and keeps the order of the others', (t) => {
  const queue = queueOf(3, 3);
  const items = [1, 2, 3].map((number) => ({ lane: 'a', number }));
  for (const item of items) queue.offer(item);
  queue.remove(items[1]!);
  queue.remove(items[1]!);
  t.equal(queue.offer({ lane: 'b', number: 4 }), 'accepted');
  t.same(
    queue.waiting().map(({ number }) => number),
    [1, 3, 4],
  );
  t.end();
});

t.test('in any history, a lane has one item in work at most, keeps its order, and the bounds hold', (t) => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('offer' as const), lane: fc.constantFrom('a', 'b', 'c', 'heartbeat') }),
    fc.record({
      kind: fc.constant('take' as const),
      which: fc.constantFrom('reserved' as const, 'unreserved' as const),
    }),
    fc.record({ kind: fc.constant('finish' as const), lane: fc.constantFrom('a', 'b', 'c', 'heartbeat') }),
    fc.record({ kind: fc.constant('remove' as const), index: fc.nat(8) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = queueOf(3, 5);
      const busy = new Set<string>();
      const last = new Map<string, number>();
      let number = 0;
      for (const next of steps) {
        if (next.kind === 'offer') queue.offer({ lane: next.lane, number: ++number });
        else if (next.kind === 'remove') {
          const item = queue.waiting()[next.index];
          if (item) queue.remove(item);
        } else if (next.kind === 'finish') {
          queue.finish(next.lane);
          busy.delete(next.lane);
        } else {
          const free = queue
            .waiting()
            .some(({ lane }) => !busy.has(lane) && (lane === 'heartbeat') === (next.which === 'reserved'));
          const item = queue.take(next.which);
          if ((item !== undefined) !== free) return false;
          if (!item) continue;
          if (busy.has(item.lane) || item.number <= (last.get(item.lane) ?? 0)) return false;
          busy.add(item.lane);
          last.set(item.lane, item.number);
        }
        const waiting = queue.waiting();
        const lanes = ['a', 'b', 'c', 'heartbeat'].map(
          (lane) => waiting.filter((item) => item.lane === lane).length,
        );
        if (queue.size !== waiting.length || Math.max(...lanes) > 3 || waiting.length - lanes[3]! > 5) {
          return false;
        }
      }
      return true;
    }),
  );
  t.end();
});

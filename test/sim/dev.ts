import { makeSchedule } from './schedule-maker.js';
import { describeSchedule } from './schedule.js';
import { play } from './play.js';
import { shrink } from './shrink.js';
import { Coverage } from './coverage.js';
Error.stackTraceLimit = 0;
const [from = '0', count = '1', mode = ''] = process.argv.slice(2);
async function main() {
  const cov = new Coverage();
  let failed = 0;
  const t0 = performance.now();
  process.on('unhandledRejection', (e) => {
    console.log('UNHANDLED', e);
  });
  for (let i = Number(from); i < Number(from) + Number(count); i++) {
    const s = makeSchedule(String(i));
    const t1 = performance.now();
    let p = await play(s);
    if (mode === 'time') console.log(i, (performance.now() - t1).toFixed(0));
    cov.add(p.counts);
    if (p.violation) {
      failed++;
      console.log(`seed ${i}: ${p.violation.message}`);
      if (mode === 'shrink') {
        const k = await shrink(s, p);
        console.log(describeSchedule(k.schedule));
        console.log(k.played.violation?.message);
        console.log(k.played.trace.join('\n'));
        break;
      }
      if (mode === 'trace') {
        console.log(describeSchedule(s));
        console.log(p.trace.join('\n'));
        break;
      }
    }
  }
  console.log(
    `${count} schedules, ${failed} failed, ${((performance.now() - t0) / Number(count)).toFixed(1)} ms each`,
  );
  if (mode === 'cov') console.log(cov.counts);
}
void main();

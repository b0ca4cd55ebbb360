import { makeSchedule } from './schedule-maker.js';
import { describeSchedule, type Schedule } from './schedule.js';
import { play } from './play.js';
Error.stackTraceLimit = 0;
const [topic = '', from = '0', count = '1'] = process.argv.slice(2);
async function main() {
  for (let i = Number(from); i < Number(from) + Number(count); i++) {
    let s: Schedule = makeSchedule(String(i));
    let p = await play(s);
    if (!p.counts[topic]) continue;
    for (let size = s.steps.length >> 1; size >= 1; size >>= 1)
      for (let at = 0; at < s.steps.length;) {
        const t = { ...s, steps: [...s.steps.slice(0, at), ...s.steps.slice(at + size)] };
        const q = await play(t);
        if (q.counts[topic]) {
          s = t;
          p = q;
        } else at += size;
      }
    console.log(describeSchedule(s));
  }
}
void main();

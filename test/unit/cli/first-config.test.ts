import t from 'tap';
import { configReference } from '../../../src/cli/first-config.js';
import { parseConfig } from '../../../src/model/config.js';

t.test('every key of the configuration is explained', async (t) => {
  const lines = configReference('').split('\n');
  const keys = lines.filter((line) => line !== '' && !line.startsWith('['));
  const silent = keys.filter((line) => !/^\w+ = .* # \S/.test(line));
  t.ok(keys.length > 0);
  t.strictSame(silent, []);
});

t.test('the reference is a valid configuration, of the defaults', async (t) => {
  t.strictSame(
    parseConfig(configReference('#'), { hostName: 'kvm-a' }),
    parseConfig('', { hostName: 'kvm-a' }),
  );
  t.match(parseConfig(configReference(''), { hostName: 'kvm-z' }), { host: 'kvm-a' });
});

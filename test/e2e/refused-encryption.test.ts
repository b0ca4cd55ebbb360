import t from 'tap';
import { Site } from '../fixtures/site.js';

t.test('who asks for encryption is refused, and does not get state in the clear', async (t) => {
  const site = await Site.create(t);
  const recipients = ['age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p'];
  const host = await site.host('kvm-a', { encryption: { recipients } });
  const { status, stderr } = await host.run(['status']);
  t.equal(status, 2, stderr);
  t.match(
    stderr,
    /^swtpm-mirror: CONFIG_INVALID: encryption is configured, .+\n {2}leave encryption\.recipients .+\n$/,
  );
});

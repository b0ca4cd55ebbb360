import t from 'tap';
import { MirrorError } from '../../../src/model/errors.js';
import { shareError } from '../../../src/volume/share-errors.js';

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

t.test('an error of the system becomes what it means to the operator', (t) => {
  const cases = [
    ['ENOSPC', 'SHARE_FULL', true],
    ['EDQUOT', 'SHARE_FULL', true],
    ['EACCES', 'SHARE_DENIED', false],
    ['EROFS', 'SHARE_DENIED', false],
    ['ESTALE', 'SHARE_UNAVAILABLE', true],
    ['EIO', 'SHARE_UNAVAILABLE', true],
    ['ETIMEDOUT', 'SHARE_UNAVAILABLE', true],
    ['ENOENT', 'SHARE_UNAVAILABLE', true],
    ['ENAMETOOLONG', 'SHARE_UNAVAILABLE', false],
    ['ELOOP', 'VOLUME_DAMAGED', false],
    ['EMFILE', 'HOST_IO', true],
    ['EUNHEARDOF', 'SHARE_UNAVAILABLE', false],
  ] as const;
  for (const [errno, code, retriable] of cases) {
    const error = shareError(
      'read the share marker',
      systemError(errno, `${errno}: some text, open '/share/x'`),
    );
    t.match(error, {
      code,
      retriable,
      message: `cannot read the share marker: ${errno}: some text, open '/share/x'`,
    });
    t.not(error.next, '');
    t.notMatch(error.message, /\.$/);
  }
  t.end();
});

t.test('a missing directory of the share makes the operator look at the mount', (t) => {
  t.match(shareError('list the volumes', systemError('ENOENT', 'ENOENT: no such file')).next, /mounted/);
  t.end();
});

t.test("an error whose text does not say the system's name for it gets it", (t) => {
  const error = shareError('publish', systemError('ENOSPC', 'wrote 3 of 8 bytes'));
  t.equal(error.message, 'cannot publish: ENOSPC: wrote 3 of 8 bytes');
  t.end();
});

t.test('what has a name already keeps it, and what is no system error is a fault of the program', (t) => {
  const named = new MirrorError('FENCED', 'lost the volume', { next: 'nothing' });
  t.equal(shareError('publish', named), named);
  t.match(shareError('publish', new TypeError('x is not a function')), { code: 'INTERNAL' });
  t.end();
});

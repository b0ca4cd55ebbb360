import t from 'tap';
import {
  asMirrorError,
  errnoOf,
  invariant,
  MirrorError,
  type ErrorCode,
  type ErrorRecord,
} from '../../../src/model/errors.js';

function error(code: ErrorCode): MirrorError {
  return new MirrorError(code, 'publish failed', {
    next: 'try again',
    retriable: true,
    cause: new Error('below'),
  });
}

t.test('every code ends the program with the status that the interface promises', async (t) => {
  const promised: Readonly<Record<number, readonly ErrorCode[]>> = {
    1: ['INTERNAL', 'HOST_IO', 'LIBVIRT_FAILED'],
    2: ['USAGE', 'CONFIG_INVALID', 'CONFIRMATION_NEEDED', 'XML_INVALID'],
    3: ['HELD_ELSEWHERE', 'FENCED', 'TOMBSTONED', 'FOREIGN_TPM', 'STATE_MISSING', 'STATE_BEHIND'],
    4: ['SHARE_UNAVAILABLE', 'SHARE_TIMEOUT', 'SHARE_WRONG', 'OUTCOME_UNKNOWN'],
    5: ['STATE_INVALID', 'GENERATION_DAMAGED', 'VOLUME_DAMAGED'],
    6: ['NO_SUCH_DOMAIN', 'NO_SUCH_GENERATION'],
  };
  for (const [status, codes] of Object.entries(promised)) {
    for (const code of codes) t.equal(error(code).exitStatus, Number(status), code);
  }
});

t.test('an error crosses a process boundary as a plain record and comes back the same', async (t) => {
  const original = error('SHARE_FULL');
  const record = JSON.parse(JSON.stringify(original.toRecord())) as ErrorRecord;
  t.strictSame(record, { code: 'SHARE_FULL', message: 'publish failed', next: 'try again', retriable: true });
  const back = MirrorError.fromRecord(record);
  t.strictSame(back.toRecord(), original.toRecord());
  t.equal(back.exitStatus, 4);
  t.ok(back instanceof MirrorError);
});

t.test('the cause stays with the error and out of its record', async (t) => {
  t.match(error('HOST_IO').cause, { message: 'below' });
  t.notMatch(JSON.stringify(error('HOST_IO').toRecord()), 'below');
  t.notOk('cause' in new MirrorError('USAGE', 'no such option', { next: 'see --help' }));
});

t.test('a record of another version, or with a name that every object has, becomes INTERNAL', async (t) => {
  for (const code of ['NOT_YET_INVENTED', 'toString', 'constructor', '__proto__']) {
    const back = MirrorError.fromRecord({
      code: code as ErrorCode,
      message: 'm',
      next: 'n',
      retriable: false,
    });
    t.equal(back.code, 'INTERNAL', code);
    t.equal(back.exitStatus, 1, code);
  }
});

t.test('an errno is read from system errors alone', async (t) => {
  t.equal(errnoOf(Object.assign(new Error('no'), { code: 'ENOENT' })), 'ENOENT');
  t.equal(errnoOf(Object.assign(new Error('no'), { code: 'E2BIG' })), 'E2BIG');
  t.equal(errnoOf(Object.assign(new Error('no'), { code: 'ERR_INVALID_ARG_TYPE' })), undefined);
  t.equal(errnoOf(Object.assign(new Error('no'), { code: 5 })), undefined);
  t.equal(errnoOf(new Error('no')), undefined);
  t.equal(errnoOf({ code: 'ENOENT' }), undefined);
  t.equal(errnoOf(error('SHARE_FULL')), undefined);
});

t.test('whatever was thrown leaves as an error with a code', async (t) => {
  const own = error('USAGE');
  t.equal(asMirrorError(own), own);
  const cause = new Error('unforeseen');
  t.match(asMirrorError(cause), { code: 'INTERNAL', message: 'unforeseen', retriable: false, cause });
  t.match(asMirrorError('text'), { code: 'INTERNAL', message: 'text' });
  t.match(asMirrorError(undefined), { code: 'INTERNAL', message: 'undefined' });
});

t.test('a broken invariant throws and names its claim', async (t) => {
  t.doesNotThrow(() => {
    invariant(true, 'holds');
  });
  t.throws(
    () => {
      invariant(false, 'the sky is above');
    },
    { code: 'INTERNAL', message: 'broken invariant: the sky is above' },
  );
});

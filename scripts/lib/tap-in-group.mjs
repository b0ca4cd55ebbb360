/**
 * tap-in-group: what a test file that shares a process takes for tap: the test that stands for the file.
 */
import tap from 'tap';

let ofFile = tap;

/** Runs a file's tests as those of one test with the file's name. */
export function runFile(name, load) {
  return tap.test(name, async (test) => {
    ofFile = test;
    await load();
  });
}

export default new Proxy(
  {},
  {
    get: (_, name) => {
      const value = Reflect.get(ofFile, name);
      return typeof value === 'function' ? value.bind(ofFile) : value;
    },
  },
);

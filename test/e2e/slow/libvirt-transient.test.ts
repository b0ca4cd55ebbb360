/**
 * What the guest of a transient domain wrote last comes back, however it ends.
 */
import { expectBackInEachCase } from '../../fixtures/libvirt-combinations.js';

expectBackInEachCase('transient');

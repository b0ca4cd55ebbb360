/**
 * What the guest of a persistent domain wrote last comes back, however it ends.
 */
import { expectBackInEachCase } from '../../fixtures/libvirt-combinations.js';

expectBackInEachCase('persistent');

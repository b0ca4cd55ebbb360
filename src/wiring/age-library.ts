/**
 * age-library: the encryption library, in a file of its own that is loaded when something is sealed or opened.
 */
export { Decrypter, Encrypter, identityToRecipient, Stanza } from 'age-encryption';

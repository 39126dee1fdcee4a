/** With FC_SHRINK=0: a random program that fails is not made shorter, which takes minutes. */
import fc from 'fast-check';

fc.configureGlobal({ ...fc.readConfigureGlobal(), endOnFailure: true });

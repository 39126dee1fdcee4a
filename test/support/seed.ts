/**
 * Where random programs and requests start. The same ones in each run of the tests, so that what fails speaks of what was
 * changed; the nightly runs walk others. FC_SEED repeats one of those.
 */
export const SEED = Number(process.env.FC_SEED ?? 20_261_128);

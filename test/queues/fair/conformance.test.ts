import { describe, expect, test } from '@jest/globals';
import { allCases, observe } from './observe.ts';

describe.each(allCases)('%s', (_, cases) => {
  test.each(Object.entries(cases))('%s', async (name, run) => {
    const [stock, fair, grouped] = await Promise.all([
      observe('stock', name, run),
      observe('fair', name, run),
      observe('grouped', name, run),
    ]);
    expect(fair).toEqual(stock);
    expect(grouped).toEqual(stock);
  });
});

import { expect, test } from '@jest/globals';
import { Screen } from '../../src/demo/screen.ts';
import type { ScreenOptions } from '../../src/demo/screen.ts';
import { alignColumns } from '../../src/demo/table.ts';

function screenOf(options: Partial<ScreenOptions>): { screen: Screen; written: () => string } {
  let text = '';
  const write = (part: string): void => void (text += part);
  const screen = new Screen({ write, live: false, colour: false, columns: () => 80, ...options });
  return { screen, written: () => text };
}

test('a terminal gets the block drawn over itself and cut to its width', () => {
  const { screen, written } = screenOf({ live: true, columns: () => 21 });
  const block = [{ text: 'first' }, { text: 'x'.repeat(30) }];
  screen.show(block, () => 'summary');
  screen.show(block, () => 'summary');
  const drawn = `first\n${'x'.repeat(20)}\n`;
  expect(written()).toBe(`${drawn}\x1b[2A\x1b[J${drawn}`);
});

test('what is said stays above the next block', () => {
  const { screen, written } = screenOf({ live: true });
  screen.show([{ text: 'one' }], () => '');
  screen.say('said');
  screen.show([{ text: 'two' }], () => '');
  expect(written()).toBe('one\nsaid\ntwo\n');
});

test('a log gets no control sequences: one summary a second at most, and the last block in full', () => {
  const { screen, written } = screenOf({});
  for (let i = 0; i < 5; i += 1) screen.show([{ text: 'block', style: 'green' }], () => 'summary');
  screen.settle([{ text: 'block', style: 'green' }]);
  expect(written()).toBe('summary\nblock\n');
});

test('styles become colours only where there are colours', () => {
  const { screen, written } = screenOf({ colour: true });
  screen.say('a\nb', 'red');
  expect(written()).toBe('\x1b[31ma\x1b[0m\n\x1b[31mb\x1b[0m\n');
});

test('columns line up, numbers to the right', () => {
  const rows = alignColumns([
    ['tenant', 'done'],
    ['megacorp', '5,000'],
  ]);
  expect(rows).toEqual(['  tenant      done', '  megacorp   5,000']);
});

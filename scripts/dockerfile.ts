/** Enough of a Dockerfile reader for ours: one instruction per line, no variables, commands in exec form. */

export interface Instruction {
  name: string;
  text: string;
}

export interface Stage {
  image: string;
  /** The name after AS; the last stage has none. */
  alias: string | undefined;
  instructions: Instruction[];
}

/** Reads the text of a Dockerfile into its stages, in order. */
export function parseDockerfile(text: string): Stage[] {
  const stages: Stage[] = [];
  for (const line of text.replace(/\\\n/g, ' ').split('\n')) {
    const [, name, rest] = /^([A-Z]+)\s+(.*)$/.exec(line.trim()) ?? [];
    if (!name || rest === undefined) continue;
    if (name === 'FROM') {
      const [, image = '', alias] = /^(\S+)(?:\s+AS\s+(\S+))?$/i.exec(rest) ?? [];
      stages.push({ image, alias, instructions: [] });
    } else {
      stages.at(-1)?.instructions.push({ name, text: rest });
    }
  }
  return stages;
}

/** The texts of a stage's instructions of one name. */
export function textsOf(stage: Stage, name: string): string[] {
  return stage.instructions.filter((instruction) => instruction.name === name).map(({ text }) => text);
}

/** The exec-form command in `text`, whatever flags come before it; an Error when it is in shell form. */
export function execForm(text: string): [string, ...string[]] {
  const start = text.indexOf('[');
  if (start < 0) throw new Error(`not in exec form: ${text}`);
  return JSON.parse(text.slice(start)) as [string, ...string[]];
}

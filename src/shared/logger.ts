import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';

export type { Logger } from 'pino';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

const SECRET_FIELDS = [
  'authorization',
  'Authorization',
  'cookie',
  'Cookie',
  'set-cookie',
  'token',
  'secret',
  'password',
  'adminToken',
  'apiKey',
];

/**
 * Every secret field at the top of a record, one level down, and in the headers of a logged request or response; and what a
 * command that Redis refused was sent with, such as the password.
 */
function redactedPaths(): string[] {
  const at = (prefix: string): string[] => SECRET_FIELDS.map((field) => `${prefix}["${field}"]`);
  return [
    ...SECRET_FIELDS.map((field) => `["${field}"]`),
    ...at('*'),
    ...at('req.headers'),
    ...at('res.headers'),
    ...at('*.headers'),
    'err.command.args',
  ];
}

/**
 * A pino logger that writes JSON lines without secrets.
 * @param destination where the lines go; standard output unless given (tests give their own).
 */
export function createLogger(
  options: { level: LogLevel; name: string },
  destination?: DestinationStream,
): Logger {
  const settings = {
    name: options.name,
    level: options.level,
    redact: { paths: redactedPaths(), censor: '[redacted]' },
  };
  return destination === undefined ? pino(settings) : pino(settings, destination);
}

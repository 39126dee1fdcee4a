import { WaggleError } from './errors.ts';
import { SettingsError } from './settings.ts';

/** What a well-formed setting names is not there, or not to be had: the ends of a start, in words that name the variable. */

/** For a port that could not be listened on. @throws SettingsError; an error of another kind as it is */
export function portRefused(variable: string, port: number): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof Error) || (error as NodeJS.ErrnoException).syscall !== 'listen') throw error;
    throw new SettingsError(`${variable}: port ${port} cannot be listened on (${error.message})`, [variable]);
  };
}

/** For a Redis that could not be opened. @throws SettingsError when it is not available; another error as it is */
export function redisRefused(redisUrl: string): (error: unknown) => never {
  return (error) => {
    if (!isRedisAway(error)) throw error;
    throw new SettingsError(redisAway(redisUrl, error), ['REDIS_URL']);
  };
}

export function isRedisAway(error: unknown): error is WaggleError {
  return error instanceof WaggleError && error.code === 'redis_unavailable';
}

/** Why no Redis could be opened, without the secrets of its URL. */
export function redisAway(redisUrl: string, error: WaggleError): string {
  const reason = firstCause(error).message;
  return `REDIS_URL: Redis at ${withoutSecrets(redisUrl)} cannot be reached or cannot serve (${reason})`;
}

function firstCause(error: Error): Error {
  return error.cause instanceof Error ? firstCause(error.cause) : error;
}

/** A URL as it may be shown: without user and password, and without a query, which may name them too. */
function withoutSecrets(url: string): string {
  return url.replace(/\/\/.*@/, '//').replace(/\?.*/, '');
}

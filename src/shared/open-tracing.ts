import type { Tracing } from './tracing.ts';

/**
 * Loads the SDK and sends spans by OTLP over HTTP to where the `OTEL_…` variables say, which the SDK reads by itself.
 * @param service the name of the service unless they give another
 * @throws Error when the optional packages are not installed
 */
export async function openTracing(service: string): Promise<Tracing> {
  try {
    const { createTracing } = await import('./otel.ts');
    return createTracing(service);
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new Error('Tracing is on, but the optional packages @opentelemetry/* are not installed', {
      cause: error,
    });
  }
}

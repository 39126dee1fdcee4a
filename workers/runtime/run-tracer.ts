import type { Span, Tracing } from '../../src/shared/tracing.ts';
import type { Outcome } from './outcome.ts';
import type { Run } from './run.ts';

/**
 * A span for each attempt, child of the request that enqueued the job. BullMQ's own `telemetry` is not used: it writes into
 * the options of each job, which takes the job off the lean scripts, and its spans are those of BullMQ's worker loop, which
 * Waggle's workers do without.
 */
export function startRunSpan(tracing: Tracing, run: Run): Span {
  const { job, source, envelope, attempt } = run;
  return tracing.start(`process ${job.name}`, {
    kind: 'consumer',
    parent: envelope?.traceparent,
    attributes: {
      'messaging.system': 'waggle',
      'messaging.operation.type': 'process',
      'messaging.destination.name': source.name,
      'messaging.message.id': job.id ?? '',
      'waggle.task': job.name,
      'waggle.attempt': attempt,
      ...(envelope === null
        ? {}
        : { 'waggle.tenant': envelope.tenant, 'waggle.correlation_id': envelope.correlationId }),
    },
  });
}

export function endRunSpan(span: Span, outcome: Outcome): void {
  span.setAttributes({ 'waggle.outcome': outcome.kind });
  if (outcome.kind === 'fail' || outcome.kind === 'retry') {
    span.setAttributes({ 'error.type': outcome.failure.code });
    span.fail(outcome.failure.message);
  }
  span.end();
}

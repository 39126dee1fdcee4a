import type { Request, Response } from 'express';
import type { z } from 'zod';
import type { Engine } from '../../queues/engine.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { Limits } from '../shared/limits.ts';
import type { Scope } from '../shared/tenant-schemas.ts';
import type { Reply } from './http/reply.ts';

/** `public`: no credential; `admin`: the admin token; `tenant`: for one tenant; a scope: for one tenant, with that scope. */
export type Access = 'public' | 'admin' | 'tenant' | Scope;

export interface ResponseDoc {
  description: string;
  schema?: z.ZodType;
  /** For what is not JSON. */
  contentType?: string;
  /** Other types of content the same may be sent as. */
  otherTypes?: string[];
  headers?: Record<string, string>;
}

export interface HeaderDoc {
  name: string;
  description: string;
}

export interface RouteCall<Query, Body> {
  req: Request;
  /** The tenant the call is for; empty on routes that are not bound to one. */
  tenant: string;
  requestId: string;
  correlationId: string;
  /** What a job of this call descends from, in traces. */
  traceparent: string | undefined;
  /** Decoded path parameters. What they name may not exist. */
  params: Readonly<Record<string, string>>;
  query: Query;
  body: Body;
  /** Aborts when the caller has gone or the server drains: whoever waits should answer now. */
  hurry: () => AbortSignal;
}

/** A call whose body and answer are streams. */
export interface StreamCall extends Pick<
  RouteCall<unknown, unknown>,
  'req' | 'tenant' | 'requestId' | 'correlationId' | 'traceparent'
> {
  res: Response;
  limits: Limits;
  /** Aborts when the server begins to drain: what goes on for long should end, and say so. */
  draining: AbortSignal;
}

interface RouteShape {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** As in OpenAPI: `/v1/jobs/{id}`. */
  path: string;
  operationId: string;
  summary: string;
  description?: string;
  tag: string;
  access: Access;
  params?: Record<string, z.ZodType>;
  requestHeaders?: HeaderDoc[];
  /** A request without a body is taken for one with an empty object. */
  mayLackBody?: boolean;
  /** For a body of type application/x-ndjson: reads it and writes the answer by itself. */
  ndjson?: {
    line: z.ZodType;
    answerLine: z.ZodType;
    handle(call: StreamCall): Promise<void>;
  };
  responses: Record<number, ResponseDoc>;
  /** Codes of this route, beyond those that any route with its access, query and body may answer. */
  problems?: ErrorCode[];
}

/** One route, said once: the Express route and its part of the OpenAPI document both come from it. */
export interface Route extends RouteShape {
  query: z.ZodType | undefined;
  body: z.ZodType | undefined;
  /** The schema that documents the body, when it says more than the one that parses it. */
  bodyDoc: z.ZodType | undefined;
  handle(call: RouteCall<never, never>): Promise<Reply> | Reply;
  /** What the record of an act of the admin says of it, without secrets; bodies may hold any. */
  auditDetail?(call: RouteCall<never, never>, reply: Reply): Record<string, unknown>;
}

interface TypedRoute<Q extends z.ZodType, B extends z.ZodType> extends RouteShape {
  query?: Q;
  body?: B;
  bodyDoc?: z.ZodType;
  handle(call: RouteCall<z.output<Q>, z.output<B>>): Promise<Reply> | Reply;
  auditDetail?(call: RouteCall<z.output<Q>, z.output<B>>, reply: Reply): Record<string, unknown>;
}

/** Declares a route; `handle` gets its query and body parsed by the route's own schemas. */
export function defineRoute<Q extends z.ZodType = z.ZodUndefined, B extends z.ZodType = z.ZodUndefined>(
  route: TypedRoute<Q, B>,
): Route {
  return { ...route, query: route.query, body: route.body, bodyDoc: route.bodyDoc ?? route.body };
}

/** What a group of routes needs. */
export interface RouteDeps {
  engine: Engine;
}

import type { Request, Response } from 'express';
import type { AuditAct } from '../../queues/audit/log.ts';
import { requestRecord } from '../api/request-record.ts';

/** An act in the dashboard, as it is recorded. Only the admin gets there. */
export function dashboardAct(
  action: 'dashboardLogin' | 'dashboardWrite',
  req: Request,
  res: Response,
): AuditAct {
  return {
    actor: 'admin',
    action,
    target: `${req.baseUrl}${req.path}`,
    tenant: null,
    requestId: requestRecord(res).requestId,
    status: res.statusCode,
    detail: action === 'dashboardWrite' ? { method: req.method } : {},
  };
}

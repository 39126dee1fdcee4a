# syntax=docker/dockerfile:1

FROM node:20-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build
# npm keeps TypeScript (24 MB) because a production dependency may, but need not, have it beside it.
RUN npm prune --omit=dev && rm -rf node_modules/typescript node_modules/.bin

# One image for both programs. The API is the default; a worker is the same image with the command
# ["node", "--enable-source-maps", "dist/workers/main.js"].
FROM node:20-bookworm-slim
ENV NODE_ENV=production PORT=3000 WORKER_PORT=3001
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY --from=build /app/scripts/healthcheck.mjs ./scripts/
# By number, so that an orchestrator can see that it is not root; 1000 is the image's user "node".
USER 1000:1000
EXPOSE 3000 3001
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["node", "scripts/healthcheck.mjs"]
# node itself is process 1 and gets SIGTERM: there is no shell and no npm between it and the signal.
STOPSIGNAL SIGTERM
CMD ["node", "--enable-source-maps", "dist/src/main.js"]

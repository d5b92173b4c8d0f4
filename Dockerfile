FROM node:24-alpine AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build

FROM node:24-alpine AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --no-audit --no-fund

FROM node:24-alpine
WORKDIR /app
ENV NODE_ENV=production
COPY package.json ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY web web
USER node
EXPOSE 5004 9090

# "starting" is a 503 until Redis was reached once, so a Redis that comes up late needs the start period.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://${(process.env.PUBLIC_IP || '').replace(/^(0\\.0\\.0\\.0|::)?$/, '127.0.0.1')}:${process.env.PORT || 5004}/health`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]

# Node reads UV_THREADPOOL_SIZE at its start, before any code of ours could set it; THREAD_NUM follows it, so that /info
# tells the number that is in force. exec makes Node the process that gets the signals of `docker stop`.
CMD ["sh", "-c", "export UV_THREADPOOL_SIZE=${UV_THREADPOOL_SIZE:-${THREAD_NUM:-$((2 * $(nproc)))}} && export THREAD_NUM=${THREAD_NUM:-$UV_THREADPOOL_SIZE} && exec node dist/server.js"]

# chatify, with what it needs to serve and nothing else: no PostgreSQL, no tests, no tools. It wants a DATABASE_URL.
#   docker build -t chatify .
#   docker run -p 8000:8000 -e DATABASE_URL=postgres://user:password@host:5432/database chatify

FROM oven/bun:1.4.5-slim AS packages
WORKDIR /app
COPY package.json bun.lock ./
# Of the client only what Bun loads: its other builds and its types are as much again.
RUN bun install --frozen-lockfile --production --omit=optional \
 && rm -rf node_modules/postgres/cf node_modules/postgres/cjs node_modules/postgres/types node_modules/.cache

FROM oven/bun:1.4.5-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="chatify" \
      org.opencontainers.image.description="A chat between two people that anyone can host" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/oven/bun:1.4.5-slim"
WORKDIR /app
# Without bun.lock, on purpose: a container never installs anything.
COPY LICENSE package.json bunfig.toml ./
COPY --from=packages /app/node_modules ./node_modules
COPY sql ./sql
COPY static ./static
COPY src ./src
ENV NODE_ENV=production PORT=8000
# A number, since Kubernetes' runAsNonRoot cannot read names; any other works, too: nothing is written.
USER 1000:1000
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 CMD ["bun", "src/main.ts", "healthcheck"]
CMD ["bun", "src/main.ts"]

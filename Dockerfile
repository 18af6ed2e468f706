# One image, two roles: `docker run … sealpost gateway` and `docker run … sealpost keyserver`. docs/operations.md has the full commands.
FROM node:24.21.0-bookworm-slim

ENV NODE_ENV=production
WORKDIR /opt/sealpost

# Dependencies and the reader in one step: `npm ci` runs `prepare`, which builds the page, so the sources must be there.
# npm's own `node` package is for development; here the image brings Node.
COPY . .
RUN npm ci --omit=dev && npm cache clean --force \
 && install -d -o node -g node -m 0700 /var/lib/sealpost \
 && install -d -m 0755 /etc/sealpost

# What Node compiles at a start it finds here at the next, instead of compiling it anew: 0.3 s and 20 MB less. Filled now, by the user who will read it (Node
# keeps a folder for each); then nobody may write there, as whoever can decides what runs. Without a configuration a role loads itself and ends with 78.
ENV NODE_COMPILE_CACHE=/opt/sealpost/compiled
RUN install -d -o node -g node compiled \
 && for role in gateway keyserver; do setpriv --reuid=node --regid=node --clear-groups node $role/main.ts || test $? -eq 78 || exit 1; done \
 && chown -R root:root compiled && chmod -R a=rX,u+w compiled

# Configuration, certificates and policies come in read-only; only the volume is written, so the root may be read-only (with a tmpfs for /tmp,
# where the gateway keeps its encrypted scratch files).
VOLUME /var/lib/sealpost
USER node
STOPSIGNAL SIGTERM

# Gateway: 2525 SMTP, 8080 sealed copies. Key server: 8443 public, 8444 gateways. The `ops` listeners stay on loopback.
EXPOSE 2525 8080 8443 8444

# Whether to restart it; whether to send it work is /health/ready. Name the port of `ops` in your configuration, if it is another.
ENV SEALPOST_OPS_PORT=8445
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.SEALPOST_OPS_PORT + '/health/live').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]

# `gateway` or `keyserver`, with /etc/sealpost/<role>.yaml unless another file is named behind it; anything else is a command of the CLI,
# such as `audit verify`.
ENTRYPOINT ["/bin/sh", "-c", "case \"$1\" in gateway|keyserver) exec node \"/opt/sealpost/$1/main.ts\" \"${2:-/etc/sealpost/$1.yaml}\" ;; *) exec node /opt/sealpost/cli/main.ts \"$@\" ;; esac", "sealpost"]
CMD ["help"]

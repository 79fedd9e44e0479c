# One image for all three processes; the command says which. Built from the lock file, run without root.
#
# Under a seccomp profile of your own, allow recvmmsg and sendmmsg: where they are refused, Bun's UDP sockets spin at full
# load instead of failing. Docker's default profile allows both.
FROM oven/bun:1.4.4

WORKDIR /app
ENV NODE_ENV=production LARS_DATA_DIR=/data

COPY package.json bun.lock bunfig.toml ./
RUN bun install --frozen-lockfile --production

COPY conf conf
COPY drizzle drizzle
COPY src src

RUN mkdir /data && chown bun:bun /data
VOLUME /data
USER bun

# dns
EXPOSE 7778/tcp 7780/tcp
# report
EXPOSE 7779/tcp 7781/tcp
# agent
EXPOSE 8880/tcp 8888/udp 8889/udp 8890/udp 8653/tcp 8653/udp

ENTRYPOINT ["bun"]
CMD ["src/dns/main.ts"]

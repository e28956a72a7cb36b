# Rekeep in the place of redis:7, with the same names, the same volume and the same user.

FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
# The libraries first: they stay built while only our own code changes.
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
 && cargo build --release --locked && rm -r src
COPY build.rs ./
COPY src src
# In a container the published ports decide who reaches the server, so protected mode is off unless asked for.
ENV REKEEP_PROTECTED_MODE=no
RUN touch src/main.rs src/lib.rs && cargo build --release --locked \
 && objcopy --strip-debug target/release/rekeep /rekeep

FROM debian:bookworm-slim
RUN groupadd --system --gid 999 redis \
 && useradd --system --uid 999 --gid redis --home-dir /data --no-create-home redis \
 && apt-get update \
 && apt-get install -y --no-install-recommends redis-tools \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/* /usr/bin/redis-check-* \
 && install -d -o redis -g redis /data
COPY --from=build /rekeep /usr/local/bin/rekeep
COPY .docker/entrypoint.sh .docker/healthcheck.sh /usr/local/bin/
RUN cd /usr/local/bin && chmod 755 entrypoint.sh healthcheck.sh \
 && for name in redis-server redis-check-rdb redis-check-aof; do ln -s rekeep "$name"; done
VOLUME /data
WORKDIR /data
EXPOSE 6379
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=5 CMD ["healthcheck.sh"]
ENTRYPOINT ["entrypoint.sh"]
CMD ["redis-server"]

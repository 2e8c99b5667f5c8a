# syntax=docker/dockerfile:1
# One image holds all programs: opb, opb-api, opb-worker and opb-scheduler. It runs as nobody in particular, has no
# shell and no package manager, and writes nothing.

FROM rust:1.95-slim-bookworm AS chef
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential cmake \
    && rm -rf /var/lib/apt/lists/* \
    && cargo install --locked cargo-chef@0.1.73
WORKDIR /source

# What the dependencies are, and nothing of our own: this layer changes only with them.
FROM chef AS recipe
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
COPY --from=recipe /source/recipe.json recipe.json
COPY .cargo .cargo
RUN cargo chef cook --release --locked --workspace --bins --recipe-path recipe.json
COPY . .
RUN cargo build --release --locked --workspace --bins \
    && mkdir /programs \
    && cp target/release/opb target/release/opb-api target/release/opb-worker target/release/opb-scheduler /programs/

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="OpenPromptBank" \
      org.opencontainers.image.description="Measures prompts on models and says which is best, how sure that is, and what it costs" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /programs/ /usr/local/bin/
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/openpromptbank/
# The user of the base image, by number, so that Kubernetes sees that it is not root.
USER 65532:65532
# Health and metrics of every program, apart from what users may reach.
ENV OPB_MONITOR_LISTEN=0.0.0.0:9100 \
    OPB_LISTEN=0.0.0.0:8000 \
    OPB_LOG_FORMAT=json
EXPOSE 8000 9100
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s --retries=3 CMD ["opb", "health"]
CMD ["opb", "--help"]

# The image holds two static programs and nothing else: the operator, and what runs in containers that sleep. No shell, no libraries, no
# certificates (the API server's come with the service account). `make image` makes the same image from the last stage, without Docker.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin lockkeeper --bin lockkeeper-pause

FROM scratch
COPY --from=build /src/target/release/lockkeeper /lockkeeper
COPY --from=build /src/target/release/lockkeeper-pause /lockkeeper-pause
LABEL org.opencontainers.image.title="lockkeeper" \
      org.opencontainers.image.description="Upgrades of ordinary Kubernetes workloads that are safe by construction" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/lockkeeper"]
CMD ["run"]

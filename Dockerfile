# The image holds one static program and nothing else: no shell, no libraries, no certificates (the API server's come with the service
# account).
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin lockkeeper

FROM scratch
COPY --from=build /src/target/release/lockkeeper /lockkeeper
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/lockkeeper"]
CMD ["run"]

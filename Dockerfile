# syntax=docker/dockerfile:1

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
# The caches stay out of the image; the program is copied out of the one that holds it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release \
    && cp target/release/vllm-grpc-adapter /vllm-grpc-adapter

# The Debian release of the build, so that the C library is the same.
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /vllm-grpc-adapter /usr/local/bin/vllm-grpc-adapter
USER 65532:65532
ENV ADAPTER_LISTEN=0.0.0.0:50051
ENV ADAPTER_ADMIN_LISTEN=0.0.0.0:9464
# Keeps the C library from raising this by itself with each large answer, and from keeping as much memory ever after.
ENV MALLOC_TRIM_THRESHOLD_=131072
EXPOSE 50051 9464
ENTRYPOINT ["/usr/local/bin/vllm-grpc-adapter"]

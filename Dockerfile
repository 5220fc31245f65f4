# The collector's image for those who prefer docker; `make image` writes the same without it:
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v0.1.0 --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" .
ARG VERSION=v0.1.0-dev
ARG COMMIT=unknown

# The compiler runs on the builder's own architecture and cross-compiles.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION COMMIT
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH CGO_ENABLED=0 go build -trimpath \
    -ldflags "$(make -s print-ldflags VERSION="$VERSION" COMMIT="$COMMIT")" -o /retina-collector ./cmd/retina-collector

FROM scratch
ARG VERSION COMMIT
LABEL org.opencontainers.image.title=retina-collector \
      org.opencontainers.image.source=https://github.com/kubectl-retina/kubectl-retina \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$COMMIT \
      org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /retina-collector /retina-collector
ENTRYPOINT ["/retina-collector"]
